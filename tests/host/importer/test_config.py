"""Model files of Keras that ask for more than layers: refused by name before any library is loaded."""

from __future__ import annotations

import copy
import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bnnedge.importer import UnsupportedError, load
from bnnedge.importer import kerasfile as reader
from bnnedge.importer.config import Structure

h5py = pytest.importorskip("h5py")


def entry(kind: str, name: str, **fields: Any) -> dict[str, Any]:
    return {"module": "keras.layers", "class_name": kind, "config": {"name": name, **fields}, "registered_name": None}


def sequential() -> dict[str, Any]:
    layers = [
        entry("InputLayer", "image", batch_shape=[None, 8, 8, 1], dtype="float32"),
        entry("Conv2D", "conv", filters=4, kernel_size=[3, 3], strides=[1, 1], padding="same", use_bias=False),
        entry("MaxPooling2D", "pool", pool_size=[2, 2], strides=[2, 2], padding="valid"),
        entry("BatchNormalization", "norm", axis=-1, epsilon=0.001, center=True, scale=False),
        entry("Activation", "sign", activation="tanh"),
        entry("Flatten", "flat"),
        entry("Dense", "dense", units=10, activation="softmax", kernel_initializer=entry("GlorotUniform", "g")),
    ]
    return {"module": "keras", "class_name": "Sequential", "config": {"name": "model", "layers": layers}, "registered_name": None}


def functional(words: int = 3) -> dict[str, Any]:
    model = sequential()
    model.update(class_name="Functional", module="keras.src.models.functional")
    before = None
    for layer in model["config"]["layers"]:
        history = {"shape": [None, 8], "dtype": "float32", "keras_history": [before, 0, 0]}
        tensor = {"class_name": "__keras_tensor__", "config": history}
        node = {"args": [tensor], "kwargs": {"training": False}} if words == 3 else [[before, 0, 0, {}]]
        layer.update(name=layer["config"]["name"], inbound_nodes=[node] if before else [])
        before = layer["name"]
    ends = [["image", 0, 0], ["dense", 0, 0]]
    model["config"].update(zip(("input_layers", "output_layers"), ends if words == 3 else [[end] for end in ends], strict=True))
    return model


@pytest.mark.parametrize("model", [sequential(), functional(2), functional(3)])
def test_weights_are_counted(model: dict[str, Any]):
    structure = Structure(model)
    assert structure.weights == 3 * 3 * 4 + 3 * 4 + (4 * 4 * 4 + 1) * 10
    assert not structure.larq
    model["config"]["layers"][-1] |= {"class_name": "QuantDense", "module": "larq.layers", "registered_name": "QuantDense"}
    assert Structure(model).larq


@pytest.mark.parametrize(("field", "value"), [("kernel_constraint", "weight_clip"), ("activation", "ste_sign")])
def test_models_of_larq_are_told_by_what_they_use(field: str, value: str):
    model = sequential()
    model["config"]["layers"][-1]["config"][field] = value
    assert Structure(model).larq


EVIL = entry("Evil", "evil") | {"module": "evilmod"}
CODE = {"class_name": "__lambda__", "config": {"code": "4wEAAA==", "defaults": None, "closure": None}}


def dense(**fields: Any) -> Callable[[dict[str, Any]], object]:
    return lambda model: model["config"]["layers"][-1]["config"].update(fields)


def last(**keys: Any) -> Callable[[dict[str, Any]], object]:
    return lambda model: model["config"]["layers"][-1].update(keys)


HOSTILE: list[tuple[Callable[[dict[str, Any]], object], str]] = [
    (last(class_name="Lambda"), "layer 'dense' is a Lambda: that is code in the file, and it is not run"),
    (last(class_name="TimeDistributed"), "layer 'dense' is of class 'TimeDistributed': the device has nothing like it; th"),
    (last(class_name="Sequential", config={"name": "inner", "layers": []}), "layer 'inner' is of class 'Sequential'"),
    (last(class_name="Dense\x1b[2J\n"), r"is of class 'Dense\\x1b\[2J\\n'"),
    (last(class_name=["Dense"]), "must have a class_name and a config"),
    (last(module="evilmod"), "layer 'dense' is of module 'evilmod': only Keras's and Larq's own are loaded"),
    (last(module="keras.src.utils.python_utils"), "is of module 'keras.src.utils.python_utils'"),
    (last(registered_name="evil>Dense"), "is registered as 'evil>Dense'"),
    (last(compile_config={"optimizer": EVIL}), "has compile_config, which is not known here"),
    (last(build_config={"shapes_dict": {"x": [1, 2]}}), "is built from more than an input's shape"),
    (last(build_config={"input_shape": [None, 10**9]}), "not a whole number in 1..1,048,576"),
    (last(build_config={"input_shape": [None, 65]}), "is built for another input than"),
    (last(config={"name": "dense", "units": 10, "lora_rank": 10**9}), "layer 'dense' .Dense. has 'lora_rank', which is not"),
    (dense(units=10**7), "units of layer 'dense' .Dense. is 10000000, not a whole number in 1..1,048,576"),
    (dense(units=2.0), "is 2.0, not a whole number"),
    (dense(units=True), "is True, not a whole number"),
    (dense(kernel_initializer=EVIL), "kernel_initializer of layer 'dense' .Dense. is of class 'Evil'"),
    (dense(kernel_initializer=entry("Zeros", "z") | {"module": "evilmod"}), "kernel_initializer of .* is of module 'evilmod'"),
    (dense(kernel_initializer=entry("Constant", "z", value=EVIL)), "value of kernel_initializer of layer 'dense'"),
    (dense(kernel_initializer=CODE), "kernel_initializer of .* is of class '__lambda__'"),
    (dense(bias_regularizer="evil"), "bias_regularizer of layer 'dense' .Dense. is 'evil', which is not known here; th"),
    (dense(kernel_constraint=EVIL), "kernel_constraint of .* is of class 'Evil'"),
    (dense(activation=entry("Lambda", "l")), "activation of layer 'dense' .Dense. is a Lambda"),
    (dense(activation={"class_name": "function", "config": "system", "module": "os"}), "activation of .* is of module 'os'"),
    (dense(activation={"class_name": "function", "config": "system", "module": None}), "activation of .* is 'system'"),
    (dense(activation="evil>function"), "activation of layer 'dense' .Dense. is 'evil>function'"),
    (dense(kernel_quantizer=EVIL), "kernel_quantizer of .* is of class 'Evil'"),
    (dense(input_quantizer="os.system"), "input_quantizer of .* is 'os.system'"),
    (dense(dtype=EVIL), "dtype of .* is of class 'Evil'"),
    (dense(metrics=[EVIL]), "has 'metrics', which is not known here"),
    (dense(seed=[[[[1]]]]), "seed of layer 'dense' .Dense. must be a number"),
    (dense(alpha=[EVIL]), "alpha of layer 'dense' .Dense. must be a number"),
    (dense(batch_input_shape=[None, 9]), "is a second input"),
    (dense(name=""), "layer 7 of the model has no name"),
    (dense(name="flat"), "two layers of the model have one name"),
    (last(class_name="Reshape", config={"name": "r", "target_shape": [3, 5]}), r"makes \(3, 5\) of \(64,\), which has not"),
    (last(class_name="Reshape", config={"name": "r", "target_shape": [-1, -1]}), "it must be of one to three sides"),
    (last(class_name="Reshape", config={"name": "r", "target_shape": [10**9, 1]}), "not a whole number in 1..1,048,576"),
    (last(class_name="Permute", config={"name": "p", "dims": [2, 1]}), r"dims of .* is \[2, 1\], no order of 1 sides"),
    (lambda model: model.update(registered_name="evil>Model"), "the model is registered as 'evil>Model'"),
    (lambda model: model.update(module="evilmod"), "the model is of module 'evilmod'"),
    (lambda model: model.update(build_config={"input_shape": [None, 9, 8, 1]}), "the model contradicts itself"),
    (lambda model: model["config"].update(name=EVIL), "name of the model must be a number, a word"),
    (lambda model: model["config"].update(custom_objects=EVIL), "no list of layers, or more than that: custom_"),
    (lambda model: model["config"]["layers"].pop(0), "layer 'conv' .Conv2D. states no shape of the input"),
    (lambda model: model["config"]["layers"][0]["config"].update(batch_shape=[None, 4000, 4000, 9]), "has 144,000,000 inputs"),
    (lambda model: model["config"]["layers"][1]["config"].update(filters=200_000), "makes 12,800,000 numbers of an image"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "said"), HOSTILE, ids=range(len(HOSTILE)))
def test_what_is_on_no_list_is_refused(change: Callable[[dict[str, Any]], object], said: str):
    model = sequential()
    change(model)
    with pytest.raises(UnsupportedError, match=said) as caught:
        Structure(model)
    assert str(caught.value).isprintable()


def test_branches_are_refused():
    for place, node in ((3, ["conv", 0, 0]), (6, ["sign", 0, 0]), (1, ["image", 1, 0]), (2, None)):
        model = functional(2)
        taken = [[*node, {}]] if node else [["conv", 0, 0, {}], ["conv", 0, 0, {}]]
        model["config"]["layers"][place]["inbound_nodes"] = [taken]
        with pytest.raises(UnsupportedError, match="must take what the layer before it makes, and nothing else"):
            Structure(model)
    model = functional(3)
    model["config"]["layers"][3]["inbound_nodes"][0]["kwargs"]["mask"] = copy.deepcopy(EVIL)
    with pytest.raises(UnsupportedError, match="layer 'norm'"):
        Structure(model)
    for said in ("input_layers", "output_layers"):
        with pytest.raises(UnsupportedError, match="one chain, from its first layer to its last"):
            Structure(functional() | {"config": {**functional()["config"], said: [["pool", 0, 0]]}})


def test_own_functions_must_be_registered():
    model = sequential()
    dense(activation="mine>sign")(model)
    Structure(model, lambda name: name == "mine>sign")


def write(path: Path, model: Any, weights: int, change: Callable[[Any], None] = lambda file: None, **members: bytes) -> Path:
    """A file of either kind; `change` gets its HDF5 part."""
    inner = path if path.suffix == ".h5" else path.with_suffix(".weights")
    text = model if isinstance(model, str) else json.dumps(model)
    with h5py.File(inner, "w") as file:
        file["layers/dense/vars/0"] = np.ones(weights, np.float32)
        file.attrs["model_config"] = text
        change(file)
    if path.suffix == ".keras":
        with zipfile.ZipFile(path, "w") as archive:
            parts = {"metadata.json": b"{}", "config.json": text.encode(), "model.weights.h5": inner.read_bytes()}
            for name, content in {**parts, **{name.replace("__", "/"): c for name, c in members.items()}}.items():
                archive.writestr(name, content)
    return path


@pytest.fixture
def libraries(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Modules that the reader asked for; none but h5py may it have."""
    asked: list[str] = []
    needed = reader._needed

    def noted(name: str) -> Any:
        if name != "h5py":
            asked.append(name)
            raise ValueError("a library was asked for")
        return needed(name)

    monkeypatch.setattr(reader, "_needed", noted)
    return asked


def link(file: Any) -> None:
    del file["layers/dense/vars/0"]
    file["layers/dense/vars/0"] = h5py.ExternalLink("/etc/passwd", "/")


def soft(file: Any) -> None:
    file["layers/other"] = h5py.SoftLink("/layers")


def cycle(file: Any) -> None:
    file["layers/dense/again"] = file["layers"]


def virtual(file: Any) -> None:
    layout = h5py.VirtualLayout((5,), "f4")
    layout[:] = h5py.VirtualSource("/tmp/other.h5", "x", (5,))
    file.create_virtual_dataset("virtual", layout)


def external(file: Any) -> None:
    file.create_dataset("outside", (5,), "u1", external=[("/etc/passwd", 0, 5)])


def hollow(file: Any) -> None:
    file.create_dataset("hollow", (10**6, 10**6), "f4", chunks=(100, 100))


def packed(file: Any) -> None:
    file.create_dataset("packed", data=np.zeros(10**6, "f4"), compression="gzip")


def twice(file: Any) -> None:
    file["layers"].attrs["weight_names"] = [b"dense/vars/0"] * 3


def alias(file: Any) -> None:
    file["layers"].attrs["weight_names"] = [b"dense/vars/0", b"dense//vars/0"]


FILES = [
    (link, "/layers/dense/vars/0 is a link to somewhere else"),
    (soft, "/layers/other is a link to somewhere else"),
    (cycle, "is there twice"),
    (virtual, "/virtual lies in another file"),
    (external, "/outside lies in another file"),
    (hollow, "/hollow shows 1,000,000,000,000 numbers, of which not all are in the file"),
    (packed, "/packed is no array of plain numbers, or compressed"),
    (twice, "/layers lists a part twice"),
    (alias, "/layers lists a part twice"),
]


@pytest.mark.parametrize("suffix", [".h5", ".keras"])
class TestFiles:
    @pytest.mark.parametrize(("change", "said"), FILES, ids=[change.__name__ for change, _ in FILES])
    def test_weights(self, tmp_path: Path, libraries: list[str], suffix: str, change: Callable[[Any], None], said: str):
        path = write(tmp_path / f"net{suffix}", sequential(), 698, change)
        with pytest.raises(ValueError, match=f"model file {path}: .*{said}"):
            load(path, (0, 1))
        assert libraries == []

    def test_weights_that_are_not_there(self, tmp_path: Path, libraries: list[str], suffix: str):
        path = write(tmp_path / f"net{suffix}", sequential(), 697)
        with pytest.raises(ValueError, match=r"its layers have 698 numbers, of which 697 are in the file"):
            load(path, (0, 1))
        assert libraries == []
        write(path, sequential(), 698)
        with pytest.raises(ValueError, match="a library was asked for"):
            load(path, (0, 1))

    def test_code(self, tmp_path: Path, libraries: list[str], suffix: str):
        """The issue's: a Lambda beside a class whose name begins with Quant."""
        model = sequential()
        model["config"]["layers"][1] |= {"class_name": "QuantConv2D", "module": "larq.layers"}
        model["config"]["layers"][4] = entry("Lambda", "sign", function=CODE)
        path = write(tmp_path / f"net{suffix}", model, 698)
        with pytest.raises(UnsupportedError, match=f"model file {path}: layer 'sign' is a Lambda"):
            load(path, (0, 1))
        assert libraries == []

    @pytest.mark.parametrize("text", ["[" * 60_000, "{", "[]", "7", "null", '{"class_name": "Model", "config": []}'])
    def test_text(self, tmp_path: Path, libraries: list[str], suffix: str, text: str):
        path = write(tmp_path / f"net{suffix}", text, 5)
        with pytest.raises(ValueError, match=f"model file {path}: "):
            load(path, (0, 1))
        assert libraries == []


def test_texts_that_are_all_the_same_one(tmp_path: Path, libraries: list[str]):
    """A text of any length is its length and an address: here 300 are of one megabyte, which would be 300 in memory."""
    path, length = tmp_path / "net.h5", 1 << 20
    names = ["x" * length, *(f"{n:3}" for n in range(300))]

    def fill(file: Any) -> None:
        file["layers"].attrs.create("weight_names", names, dtype=h5py.string_dtype())

    content = bytearray(write(path, sequential(), 698, fill).read_bytes())
    place = next(m.start() for m in re.finditer(length.to_bytes(4, "little"), content) if content[m.start() + 16] == 3)
    content[place : place + 16 * len(names)] = content[place : place + 16] * len(names)
    path.write_bytes(content)
    with pytest.raises(ValueError, match="/layers has an attribute 'weight_names' of 301 parts, too large for it"):
        load(path, (0, 1))
    assert libraries == []


def test_long_text(tmp_path: Path, libraries: list[str]):
    path = write(tmp_path / "net.keras", sequential(), 698)
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("metadata.json", "config.json", "model.weights.h5"):
            archive.writestr(name, bytes(5 << 20))
    with pytest.raises(ValueError, match=r"net.keras: .*its config.json takes more than 4,194,304 bytes"):
        load(path, (0, 1))
    assert libraries == []


@pytest.mark.parametrize("pixels", [(1, 0), (0, 0), (float("nan"), 1), (float("-inf"), float("inf"))])
def test_pixels_must_be_numbers_in_order(pixels: tuple[float, float]):
    from bnnedge.importer import understand
    from bnnedge.importer.steps import Model

    with pytest.raises(ValueError, match="a white pixel must be more than a black one, and both finite"):
        understand(Model("model", (4,), (), lambda x: x), pixels)


def test_members(tmp_path: Path, libraries: list[str]):
    for name in ("assets__../../evil", "model.weights.npz", "evil.py"):
        path = write(tmp_path / "net.keras", sequential(), 698, **{name: b"x"})
        with pytest.raises(ValueError, match=r"it holds metadata.json, config.json, model.weights.h5, .*, not config.json"):
            load(path, (0, 1))
    assert libraries == []
