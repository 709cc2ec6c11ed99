"""Mutants of the files that readers get from elsewhere, each read in a process that notes whatever else happens.

    python tests/hostile.py READER SEED COUNT

prints what came of them as JSON: how many were read, how many refused in one line with the file's name, what else happened
("bad"), and the peak of the process's memory above what it had before, in MB.
"""

from __future__ import annotations

import copy
import gzip
import io
import json
import os
import pickle
import random
import struct
import sys
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from matlab import header, matrix, packed

# Code that a file should not be able to run shows itself by one of these.
FORBIDDEN = ("os.system", "os.exec", "os.posix_spawn", "os.fork", "subprocess.Popen", "socket.connect", "os.mkdir", "os.remove")
VALUES: tuple[Any, ...] = (
    *(None, True, -1, 0, 1.5, 10**9, 10**18, "", "x", "evilmod", "os.system", "\x1b[2J", "x" * 5000, [], {}, [None], [[[[[]]]]]),
    *("Lambda", "linear", "tanh", {"class_name": "Lambda", "config": {"function": ["4wEAAA==", None, None]}}, [1] * 300),
    {"class_name": "Evil", "config": {}, "module": "evilmod", "registered_name": "evil>Evil"},
    {"class_name": "function", "config": "system", "module": "os"},
)
NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 1 << 40, (1 << 63) - 1, (1 << 64) - 1)


def damaged(content: bytes, draw: random.Random) -> bytes:
    """One to three faults: bits, bytes, numbers of 1 to 8 bytes, parts that are lost, doubled or taken from elsewhere."""
    octets = bytearray(content)
    for _ in range(draw.choice((1, 1, 2, 3))):
        # Headers are where it counts, and stand at the ends.
        place = draw.choice((draw.randrange(len(octets) + 1), draw.randrange(min(len(octets), 200) + 1)))
        place = draw.choice((place, place, len(octets) - place))
        kind, size = draw.randrange(7), draw.choice((1, 2, 4, 8, 64))
        if kind == 0 and place < len(octets):
            octets[place] ^= 1 << draw.randrange(8)
        elif kind == 1:
            octets[place : place + 1] = draw.randbytes(1)
        elif kind == 2:
            number = draw.choice(NUMBERS) & (1 << 8 * min(size, 8)) - 1
            octets[place : place + min(size, 8)] = number.to_bytes(min(size, 8), draw.choice(("little", "big")))
        elif kind == 3:
            del octets[place : place + size]
        elif kind == 4:
            other = draw.randrange(len(octets) + 1)
            octets[place:place] = octets[other : other + size]
        elif kind == 5:
            del octets[place:]
        else:
            octets[place : place + size] = draw.randbytes(size)
    return bytes(octets)


def altered(value: Any, draw: random.Random) -> Any:
    """A tree of lists and tables with other values in one to three places."""
    value = json.loads(json.dumps(value))
    for _ in range(draw.choice((1, 1, 2, 3))):
        places: list[tuple[Any, Any]] = []
        waiting = [value]
        while waiting:
            inner = waiting.pop()
            keys = list(inner) if isinstance(inner, dict) else range(len(inner)) if isinstance(inner, list) else ()
            places += [(inner, key) for key in keys]
            waiting += [inner[key] for key in keys]
        if not places:
            break
        around, key = draw.choice(places)
        kind = draw.randrange(4)
        if kind == 0 and isinstance(around, dict):
            name = draw.choice(("evil", "lora_rank", "build_config", "module", "compile_config", ""))
            around[name] = copy.deepcopy(draw.choice(VALUES))
        elif kind == 2:
            other, place = draw.choice(places)
            around[key] = copy.deepcopy(other[place])
        elif kind == 1:
            del around[key]
        else:
            around[key] = copy.deepcopy(draw.choice(VALUES))
    return value


# --- files that are sound, and the readers ---------------------------------------------------------------------------------


def images() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    return {
        "x_train": rng.integers(0, 256, (12, 4, 4), dtype=np.uint8), "y_train": np.arange(12) % 4,
        "x_test": rng.integers(0, 256, (6, 4, 4), dtype=np.uint8), "y_test": np.arange(6) % 4,
    }  # fmt: skip


def npz(arrays: dict[str, np.ndarray], compressed: bool) -> bytes:
    buffer = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(buffer, **arrays)
    return buffer.getvalue()


def rezipped(content: bytes, draw: random.Random) -> bytes:
    """One member of an archive is damaged, with a checksum that is right again."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as new:
        chosen = draw.choice(old.namelist())
        for name in old.namelist():
            new.writestr(name, damaged(old.read(name), draw) if name == chosen else old.read(name))
    return buffer.getvalue()


def data_npz(draw: random.Random) -> tuple[str, bytes]:
    content = npz(images(), draw.random() < 0.5)
    return "own.npz", draw.choice((damaged, rezipped))(content, draw)


def idx(draw: random.Random) -> tuple[str, bytes]:
    array = images()["x_train"]
    content = struct.pack(">2xBBIII", 8, 3, *array.shape) + array.tobytes()
    kind = draw.randrange(3)
    if kind == 0:
        return "train-images-idx3-ubyte", damaged(content, draw)
    packed = gzip.compress(damaged(content, draw)) if kind == 1 else damaged(gzip.compress(content), draw)
    return "train-images-idx3-ubyte.gz", packed


def batch(seed: int, protocol: int = 3) -> bytes:
    rng = np.random.default_rng(seed)
    content = {"data": rng.integers(0, 256, (2, 3072), dtype=np.uint8), "labels": [seed % 10, 9], "filenames": ["a.png", "b.png"]}
    return pickle.dumps(content, protocol)


def pickled(draw: random.Random) -> tuple[str, bytes]:
    return "data_batch_1", damaged(batch(draw.randrange(5), draw.choice((2, 3, 4, 5))), draw)


def cifar(draw: random.Random) -> tuple[str, bytes]:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=draw.choice((tarfile.GNU_FORMAT, tarfile.PAX_FORMAT))) as archive:
        for i, name in enumerate((*(f"data_batch_{i}" for i in range(1, 6)), "test_batch")):
            member = tarfile.TarInfo("cifar-10-batches-py/" + ("long" * draw.choice((0, 60))) + f"/{name}")
            octets = batch(i)
            member.size = len(octets)
            archive.addfile(member, io.BytesIO(octets))
    content = buffer.getvalue()
    if draw.random() < 0.7:
        # In one of the headers, which are 512 bytes long.
        start = draw.choice([i for i in range(0, len(content), 512) if content[i : i + 5] == b"cifar"])
        content = content[:start] + damaged(content[start : start + 512], draw) + content[start + 512 :]
        if draw.random() < 0.7:
            block = bytearray(content[start : start + 512])
            block[148:156] = b"%06o\0 " % (sum(block[:148]) + sum(block[156:512]) + 8 * 32)
            content = content[:start] + bytes(block) + content[start + 512 :]
        return "own.tar.gz", gzip.compress(content)
    return "own.tar.gz", damaged(gzip.compress(content), draw)


def mat(draw: random.Random) -> tuple[str, bytes]:
    order = draw.choice("<>")
    photographs = np.random.default_rng(1).integers(0, 256, (32, 32, 3, 2), dtype=np.uint8)
    elements = [matrix("X", photographs, order), matrix("y", np.array([[3], [10]], draw.choice(("u1", "f8"))), order)]
    kind = draw.randrange(3)
    if kind:
        chosen = draw.randrange(2)
        # Packed anew, so that the checksum is right.
        elements = [damaged(octets, draw) if i == chosen and kind == 1 else octets for i, octets in enumerate(elements)]
        elements = [packed(octets, order) for octets in elements]
    content = header(order) + b"".join(elements)
    return "train_32x32.mat", content if kind == 1 else damaged(content, draw)


def checkpoint_file(draw: random.Random) -> tuple[str, bytes]:
    from bnnedge import Configuration, Conv2D, Dense, MaxPool2D, Network, Settings, checkpoint
    from bnnedge.state import TrainingState

    network = Network((8, 8, 1), [Conv2D(4), MaxPool2D(), Dense(6), Dense(3)])
    state = TrainingState.initial(network, 10, 8, 1)
    path = Path("sound.npz")
    checkpoint.save(path, checkpoint.Checkpoint(network, Settings(), Configuration("x"), state, 0.1, "cosine"))
    content = path.read_bytes()
    path.unlink()
    if draw.random() < 0.4:
        with np.load(io.BytesIO(content)) as file:
            arrays = {name: file[name] for name in file.files}
        header = altered(json.loads(arrays["header"].tobytes()), draw)
        return "run.npz", npz({**arrays, "header": np.frombuffer(json.dumps(header).encode(), np.uint8)}, True)
    return "run.npz", draw.choice((damaged, rezipped))(content, draw)


_MODELS: dict[str, bytes] = {}


def sign(x: Any) -> Any:
    import keras

    return keras.ops.where(x >= 0, 1.0, -1.0)


def keras_model(suffix: str) -> bytes:
    """A sound file of Keras."""
    if suffix not in _MODELS:
        os.environ.setdefault("KERAS_BACKEND", "jax")
        import keras

        layers = keras.layers
        keras.saving.register_keras_serializable("own")(sign)
        first = [layers.Input((6, 6, 1)), layers.Conv2D(3, 3, use_bias=False), layers.BatchNormalization()]
        model = keras.Sequential([*first, layers.Activation(sign), layers.Flatten(), layers.Dense(4), layers.Softmax()])
        rng = np.random.default_rng(1)
        model.set_weights([rng.choice([-1.0, 1.0], w.shape) if w.ndim > 1 else w for w in model.get_weights()])
        path = Path(f"sound{suffix}")
        model.save(path)
        _MODELS[suffix] = path.read_bytes()
        path.unlink()
    return _MODELS[suffix]


def keras_zip(draw: random.Random) -> tuple[str, bytes]:
    content = keras_model(".keras")
    kind = draw.randrange(4)
    if kind < 2:
        return "net.keras", (damaged, rezipped)[kind](content, draw)
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(buffer, "w") as new:
        for name in old.namelist():
            octets = old.read(name)
            new.writestr(name, json.dumps(altered(json.loads(octets), draw)) if name == "config.json" else octets)
    return "net.keras", buffer.getvalue()


def keras_h5(draw: random.Random) -> tuple[str, bytes]:
    content = keras_model(".h5")
    if draw.random() < 0.5:
        return "net.h5", damaged(content, draw)
    import h5py

    buffer = io.BytesIO(content)
    with h5py.File(buffer, "r+") as file:
        file.attrs["model_config"] = json.dumps(altered(json.loads(file.attrs["model_config"]), draw))
    return "net.h5", buffer.getvalue()


def onnx_file(draw: random.Random) -> tuple[str, bytes]:
    """Bytes, or one field of one message with another value."""
    from onnx import TensorProto, helper, numpy_helper

    rng, custom = np.random.default_rng(1), "qonnx.custom_op.general"
    tensors = {
        "w": rng.normal(0, 1, (3, 1, 3, 3)).astype(np.float32), "v": rng.normal(0, 1, (48, 4)).astype(np.float32),
        "one": np.float32(1), "step": np.float32(1 / 128), "zero": np.float32(0), "bits": np.float32(8),
        "shape": np.array([1, -1]),
    }  # fmt: skip
    rounding = {"signed": 1, "narrow": 0, "rounding_mode": "ROUND"}
    nodes = [
        helper.make_node("Quant", ["x", "step", "zero", "bits"], ["q"], domain=custom, **rounding),
        helper.make_node("BipolarQuant", ["w", "one"], ["a"], domain=custom),
        helper.make_node("Conv", ["q", "a"], ["c"], kernel_shape=[3, 3], pads=[0] * 4, strides=[1, 1]),
        helper.make_node("BipolarQuant", ["c", "one"], ["s"], domain=custom),
        helper.make_node("Reshape", ["s", "shape"], ["f"]),
        helper.make_node("BipolarQuant", ["v", "one"], ["b"], domain=custom),
        helper.make_node("MatMul", ["f", "b"], ["y"]),
    ]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, s) for name, s in (("x", (1, 1, 6, 6)), ("y", None))]
    constants = [numpy_helper.from_array(np.asarray(value), name) for name, value in tensors.items()]
    graph = helper.make_graph(nodes, "chain", ends[:1], ends[1:], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13), helper.make_opsetid(custom, 1)], ir_version=8)
    note = model.graph.quantization_annotation.add(tensor_name="q")
    note.quant_parameter_tensor_names.add(key="finn_datatype", value="INT8")
    if draw.random() < 0.4:
        return "net.onnx", damaged(model.SerializeToString(), draw)
    for _ in range(draw.choice((1, 1, 2))):
        _alter_message(model, draw)
    return "net.onnx", model.SerializeToString()


def _alter_message(message: Any, draw: random.Random) -> None:
    fields = [field for field, _ in message.ListFields()]
    field = draw.choice(fields or list(message.DESCRIPTOR.fields))
    repeated = field.label == field.LABEL_REPEATED
    value = getattr(message, field.name)
    if field.type == field.TYPE_MESSAGE:
        inner = (draw.choice(value) if len(value) else value.add()) if repeated else value
        if repeated and draw.random() < 0.1:
            draw.choice((lambda: value.add().CopyFrom(inner), lambda: value.remove(inner)))()
        else:
            _alter_message(inner, draw)
        return
    word = draw.choice(("", "evilmod", "x", "one", "w", "MatMul", "Quant", "Loop", "EVIL\x1b", "INT99999", "a" * 3000, "../../x"))
    number = draw.choice((-1, 0, 1, 2, 3, 7, 255, 10**6, 2**31 - 1))
    real = draw.choice((0.0, -1.0, 1e30, float("nan")))
    made: Any = {field.TYPE_STRING: word, field.TYPE_BYTES: word.encode(), field.TYPE_FLOAT: real}.get(field.type, number)
    if field.type == field.TYPE_ENUM:
        made = draw.choice(list(field.enum_type.values_by_number))
    if not repeated:
        setattr(message, field.name, made)
    elif len(value) and draw.random() < 0.7:
        value[draw.randrange(len(value))] = made
    else:
        value.append(made)


def readers() -> dict[str, tuple[Callable[[random.Random], tuple[str, bytes]], Callable[[Path], object]]]:
    """Of each reader what makes a mutant, and what reads it."""
    from bnnedge import checkpoint, importer
    from bnnedge.data import cifar as cifar_reader
    from bnnedge.data import idx as idx_reader
    from bnnedge.data import load, svhn

    def model(path: Path) -> object:
        return importer.load(path, (-1, 1))

    return {
        "npz": (data_npz, load), "idx": (idx, idx_reader.read), "pickle": (pickled, cifar_reader.read), "cifar": (cifar, load),
        "mat": (mat, svhn.read), "checkpoint": (checkpoint_file, checkpoint.load), "keras": (keras_zip, model),
        "h5": (keras_h5, model), "onnx": (onnx_file, model),
    }  # fmt: skip


def _memory(field: str) -> float:
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(field)) / 1024


def main(reader: str, seed: int, count: int) -> dict[str, Any]:
    from bnnedge.terminal import printable

    make, read = readers()[reader]
    found: dict[str, Any] = {"read": 0, "refused": 0, "bad": []}
    forbidden: list[str] = []
    watched = False

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if watched and (event in FORBIDDEN or (event == "import" and str(arguments[0]).startswith("evil"))):
            forbidden.append(f"{event} {arguments}"[:200])

    sys.addaudithook(hook)
    os.chdir(tempfile.mkdtemp())
    Path("evilmod.py").write_text("raise SystemExit('run')")
    sys.path.insert(0, os.getcwd())
    before, slowest = 0.0, 0.0
    for number in range(-3, count):
        # The first few warm up what a library loads and compiles but once.
        draw = random.Random(f"{reader} {seed} {number}")
        name, content = make(draw)
        Path(name).write_bytes(content)
        began, watched = time.monotonic(), number >= 0
        try:
            read(Path(name))
            outcome = "read"
        except ValueError as error:
            said = str(error)
            sound = name in said and printable(said) == said and len(said) < 2000
            outcome = "refused" if sound else f"{number}: message {said[:300]!r}"
        except BaseException as error:
            outcome = f"{number}: {type(error).__name__} {str(error)[:300]!r}"
        watched = False
        slowest = max(slowest, time.monotonic() - began)
        if number < 0:
            before = _memory("VmHWM")
            continue
        if outcome in found:
            found[outcome] += 1
        else:
            found["bad"].append(outcome)
        if forbidden:
            found["bad"].append(f"{number}: {forbidden.pop()}")
    return {**found, "memory": round(_memory("VmHWM") - before, 1), "slowest": round(slowest, 1)}


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))))
