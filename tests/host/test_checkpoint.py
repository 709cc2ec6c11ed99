"""Checkpoints: complete, safe, atomic; each kind of damage has its message."""

import dataclasses
import json
import os
import zipfile

import numpy as np
import pytest

from bnnedge import checkpoint, files
from bnnedge.checkpoint import Checkpoint, CheckpointError
from bnnedge.configuration import configuration
from bnnedge.devices import StepResult
from bnnedge.network import Dense, Network
from bnnedge.schedule import Plan
from bnnedge.settings import Settings
from bnnedge.state import TrainingState

NETWORK = Network((4, 4), [Dense(32), Dense(4)], "tiny")
SMALL = configuration("sim-small")


def make_plan():
    plan = Plan(samples=300, batch=64, digest=1, epochs=3, steps=12, start=0, seed=9, shuffle=True, rate=0.1, schedule="cosine")
    return plan.after([StepResult(70000, 30)] * 4).with_entry({"loss": 0.1 + 0.2, "accuracy": 0.5, "rate": 0.1})


def make(step=7):
    state = TrainingState.initial(NETWORK, SMALL.latent, 8, 9)
    state.step = step
    first, second = state.layers
    first.mu[:], first.beta[:], first.centre[:] = np.arange(32) - 5, np.arange(32) << 14, -np.arange(32)
    first.size[:], first.unit, second.size[:] = np.arange(32) << 35, -3, -(np.arange(4) << 37)
    return Checkpoint(NETWORK, Settings(batch=64, gradient_planes=[5, 8], seed=9), SMALL, state, 0.1, "cosine", make_plan())


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "run" / "checkpoint.npz"
    checkpoint.save(path, make())
    return path


def rewrite(path, changes=None, **arrays):
    """Save again with changes; a value None takes an entry away."""
    with np.load(path) as file:
        content = {name: file[name] for name in file.files}
    if changes is not None:
        fields = {**json.loads(content["header"].tobytes()), **changes}
        fields = {name: value for name, value in fields.items() if value is not ...}
        content["header"] = np.frombuffer(json.dumps(fields).encode(), np.uint8)
    content.update(arrays)
    np.savez(path, **{name: value for name, value in content.items() if value is not None})


def test_round_trip(path):
    saved, loaded = make(), checkpoint.load(path)
    assert loaded.state.differences(saved.state) == []
    assert loaded.plan.to_dict() == saved.plan.to_dict()
    assert loaded.plan.history["loss"] == (0.1 + 0.2,)
    for field in ("network", "settings", "configuration", "rate", "schedule"):
        assert getattr(loaded, field) == getattr(saved, field)


def test_without_a_plan(path):
    checkpoint.save(path, dataclasses.replace(make(), plan=None))
    assert checkpoint.load(path).plan is None


def test_equal_content_gives_equal_bytes(path, tmp_path):
    checkpoint.save(tmp_path / "other.npz", make())
    assert path.read_bytes() == (tmp_path / "other.npz").read_bytes()


def test_failed_save_keeps_the_last(path, monkeypatch):
    before = path.read_bytes()

    def full(*arguments, **arrays):
        arguments[0].write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(OSError, match="No space left"):
        checkpoint.save(path, make(step=8))
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]


def test_interrupted_write_keeps_the_last(path):
    before = path.read_bytes()
    with pytest.raises(KeyboardInterrupt), files.atomic(path) as file:
        file.write(b"half")
        raise KeyboardInterrupt
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]


def test_a_history_that_could_not_be_read_again_replaces_nothing(path):
    before, plan = path.read_bytes(), make_plan()

    def of(epochs):
        history = {name: tuple(np.random.RandomState(1).rand(epochs)) for name in plan.history}
        long = dataclasses.replace(plan, epochs=epochs, steps=4 * epochs, step=4 * epochs, history=history)
        return dataclasses.replace(make(), plan=long)

    with pytest.raises(OSError, match="too many epochs for a checkpoint: begin a new run"):
        checkpoint.save(path, of(100_000))
    assert path.read_bytes() == before
    checkpoint.save(path, of(70_000))
    assert checkpoint.load(path).plan.closed == 70_000


def test_missing(tmp_path):
    with pytest.raises(CheckpointError, match=r"checkpoint .*none\.npz: there is no such file"):
        checkpoint.load(tmp_path / "none.npz")


def test_folder(tmp_path):
    with pytest.raises(CheckpointError, match=r"checkpoint .*checkpoint.npz: there is no such file$"):
        checkpoint.load(tmp_path)


def test_truncated_anywhere(path):
    whole = path.read_bytes()
    for length in (*range(0, len(whole), 97), len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(CheckpointError) as caught:
            checkpoint.load(path)
        assert str(path) in str(caught.value)
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match="truncated, or no checkpoint at all"):
        checkpoint.load(path)


def test_damaged_anywhere(path):
    """A flipped bit is found, or it changes nothing that counts."""
    whole, expected = path.read_bytes(), make()
    random = np.random.RandomState(1)
    for place in random.randint(0, len(whole), 150):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << random.randint(8)
        path.write_bytes(damaged)
        try:
            loaded = checkpoint.load(path)
        except CheckpointError as error:
            assert str(path) in str(error)  # noqa: PT017
        else:
            assert loaded.state.differences(expected.state) == []


def test_flipped_bit_in_weights(path):
    whole = bytearray(path.read_bytes())
    place = whole.index(np.ascontiguousarray(make().state.layers[0].weight).tobytes()[:64])
    whole[place] ^= 1
    path.write_bytes(whole)
    with pytest.raises(CheckpointError, match=r"damaged: 1\.weight\.npy fails its checksum"):
        checkpoint.load(path)


@pytest.mark.parametrize("content", [b"", b"text", b"\x93NUMPY" + bytes(200), bytes(1000)])
def test_foreign_file(path, content):
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="truncated, or no checkpoint at all"):
        checkpoint.load(path)


def test_foreign_archives(path):
    np.savez(path, x_train=np.zeros(3))
    with pytest.raises(CheckpointError, match="not a checkpoint of bnnedge: no header"):
        checkpoint.load(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("header", "text")
    with pytest.raises(CheckpointError, match="it holds header, which are no arrays"):
        checkpoint.load(path)


def test_pickles_are_not_executed(path):
    np.savez(path, header=np.array([{"a": 1}], object))
    with pytest.raises(CheckpointError, match="header holds Python objects, which are never loaded"):
        checkpoint.load(path)


WHOLE = "samples", "batch", "digest", "epochs", "steps", "start", "seed", "step", "loss", "hits"
PLANS = [
    *(({name: value}, f"{name} of the plan must be a whole number in") for name in WHOLE for value in (1.5, True, "4", None, [])),
    *(({name: -1}, f"{name} of the plan must be a whole number in 0") for name in ("digest", "start", "seed", "step", "hits")),
    *(({name: 0}, f"{name} of the plan must be a whole number in 1") for name in ("samples", "batch", "epochs", "steps")),
    ({"digest": 1 << 32}, "digest of the plan must be a whole number in 0"),
    ({"seed": 10**19 * 2}, "seed of the plan must be a whole number in 0"),
    ({"shuffle": 1}, "shuffle of the plan must be true or false, not 1"),
    *(({"rate": value}, "rate of the plan must be a positive number") for value in ("x", 0, -1, True, None)),
    ({"rate": 1e300}, "rate must be a number in"),
    *(({"schedule": value}, "schedule of the plan must be one of cosine") for value in ("x", None, [])),
    ({"history": {}}, "history of the plan lacks names"),
    ({"history": []}, "history of the plan lacks names"),
    *(({"history": {**make_plan().to_dict()["history"], "loss": value}}, "loss in the history") for value in (3, ["x"], [True])),
    ({"history": {**make_plan().to_dict()["history"], "loss": []}}, "the plan contradicts itself: history"),
    ({"history": {**make_plan().to_dict()["history"], "val_loss": [1.0]}}, "the plan contradicts itself: val_accuracy"),
    ({"augment": {"shift": 0.1}}, "augment of the plan is"),
    ({"augment": {"shift": "far", "flip": True}}, "shift must be a share"),
    ({"step": 13}, "the plan contradicts itself: step"),
    ({"samples": 10}, "the plan contradicts itself: batch"),
    ({"epochs": 4}, "the plan contradicts itself: epochs"),
    ({"hits": 301}, "the plan contradicts itself: hits"),
]


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ({"format": "other"}, "it is not a checkpoint of bnnedge"),
        ({"version": 1}, r"bnnedge 0\.1 trained it, .* train anew, or export it with version 0\.1 \(.* import that$"),
        ({"version": 4}, "its format is version 4; this bnnedge reads version 3"),
        *(({"version": value}, "its format is version .*; this bnnedge reads") for value in (True, 1.0, "1", None, [1])),
        ({"more": 1}, "its header has wrong fields: more"),
        ({"step": ...}, "its header has wrong fields: step"),
        ({"scale": {"low": 0}}, "the scale of the training images lacks fields"),
        ({"scale": [0, 255]}, "the scale of the training images lacks fields"),
        ({"step": "7"}, "its step is not an integer"),
        ({"step": -7}, "step must be in"),
        ({"network": 5}, "its network: needs the keys"),
        ({"network": {"input_shape": [4, 4], "layers": [{"dense": 32}]}}, "not those of 1 layers"),
        ({"network": {"input_shape": [4, 5], "layers": [{"dense": 32}, {"dense": 4}]}}, r"of shape \(20, 32\), not"),
        ({"settings": {"batch": 64}}, "its settings lacks fields"),
        ({"settings": {**dataclasses.asdict(Settings()), "batch": 65}}, "batch must be a multiple of 16"),
        ({"settings": {**dataclasses.asdict(Settings()), "gradient_planes": [8]}}, "gradient_planes has 1 number, but network"),
        ({"settings": {**dataclasses.asdict(Settings()), "gradient_planes": "all"}}, "gradient_planes must be 'auto', a whole"),
        ({"configuration": None}, "its configuration lacks fields"),
        ({"configuration": {**dataclasses.asdict(SMALL), "latent": 8}}, r"not in -8192\.\.8191, as latent weights of 8 bits do"),
        ({"exponents": [1]}, "its exponents must be 2 integers"),
        ({"exponents": [1, 2.5]}, "its exponents must be 2 integers"),
        ({"units": [1, True]}, "its units must be 2 integers"),
        ({"units": [1 << 15, 0]}, "layer 1: unit 32768 does not fit 16 bits"),
        *(({"rate": rate}, "rate must be a number in .*, not") for rate in ("fast", None, True, [], 0, -0.1, 1e-30, 1e300)),
        *(({"schedule": name}, "its schedule must be one of cosine, step, plateau, constant") for name in ("x", None, 3, [])),
        ({"settings": {**dataclasses.asdict(Settings()), "batch": 128}}, "its run takes batches of 64, its settings of 128"),
        ({"configuration": {**dataclasses.asdict(SMALL), "name": "../x"}}, "name of a configuration must be letters"),
        ({"network": {**NETWORK.to_dict(), "name": 8}}, "its network: name must be text of up to 255 characters, not 8"),
        ({"network": {**NETWORK.to_dict(), "name": "\ud800"}}, r"its header is no JSON text: '\\ud800' is no whole"),
        ({"network": {**NETWORK.to_dict(), "input_shape": [10**19, 10**19]}}, "input_shape has 8 numbers, of a product"),
        ({"network": {**NETWORK.to_dict(), "layers": [{"dense": 10**19}]}}, "Dense has 1,048,576 units at most"),
        ({"network": {**NETWORK.to_dict(), "layers": [{"dense": 4}] * 1001}}, "a network has 1,000 layers at most, not 1,001"),
        ({"plan": {}}, "the plan of the run lacks fields"),
        ({"plan": 5}, "the plan of the run lacks fields"),
        *(({"plan": {**make_plan().to_dict(), **change}}, message) for change, message in PLANS),
    ],
)
def test_wrong_header(path, header, message):
    rewrite(path, header)
    with pytest.raises(CheckpointError, match=message) as caught:
        checkpoint.load(path)
    assert str(path) in str(caught.value)


HEADERS = [
    (b'{"rate": 1' + b"0" * 400 + b"}", "a whole number has 401 digits; 20 are the most"),
    (b'{"rate": 1' + b"0" * 5000 + b"}", "a whole number has 5001 digits; 20 are the most"),
    (b'{"rate": 1e400}', "the number 1e400 is too large"),
    (b'{"rate": NaN}', "NaN is no number of JSON"),
    (b'{"rate": -Infinity}', "-Infinity is no number of JSON"),
    (b'{"rate": 1, "rate": 2}', "the key 'rate' stands twice in one table"),
    (b"[" * 3000, "nested more than 20 deep"),
    (b"[" * 100_000 + b"]" * 100_000, "divided into more lists and tables than 10,000"),
    (b'{"a": "\n\xff"}', r"line 2 is not UTF-8 text \(byte 8 is 0xff\)"),
]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"1.weight": np.zeros((16, 31), np.int16)}, r"layer 1: weight must be int16 of shape \(16, 32\)"),
        ({"2.psi": np.zeros(4, np.float32)}, "layer 2: psi must be int32"),
        ({"2.psi": np.zeros(5)}, "2.psi takes 40 bytes, where 32 are the most that it can need"),
        ({"2.size": np.zeros(4, np.int32)}, "layer 2: size must be int64"),
        ({"1.beta": np.array(["a"] * 32)}, "1.beta is of type <U1, not of integers or floats"),
        ({"2.psi": None}, r"its arrays are not those of 2 layers: 2\.psi"),
        ({"3.beta": np.zeros(4, np.int16)}, r"its arrays are not those of 2 layers: 3\.beta"),
        ({"header": np.zeros(5, np.uint8)}, "its header is no JSON text"),
        *(({"header": np.frombuffer(text, np.uint8)}, message) for text, message in HEADERS),
        ({"header": np.frombuffer(b"[1]", np.uint8)}, "its header is not a table"),
    ],
)
def test_wrong_arrays(path, arrays, message):
    rewrite(path, **arrays)
    with pytest.raises(CheckpointError, match=message):
        checkpoint.load(path)
