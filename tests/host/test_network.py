"""Network descriptions: what they compute, and what is refused with which words."""

import numpy as np
import pytest

from bnnedge.network import BUILT_IN, Dense, Network, digits, mlp


def write(folder, text):
    path = folder / "network.yaml"
    path.write_text(text)
    return path


def test_sizes():
    network = Network((4, 4), [Dense(32), Dense(5)], "small")
    assert network.sizes == (16, 32, 5)
    assert network.classes == 5
    assert network.weights == 16 * 32 + 32 * 5
    assert (network.name, network.input_shape) == ("small", (4, 4))


def test_built_in_networks():
    assert mlp().sizes == (784, 256, 256, 256, 256, 10)
    assert digits().sizes == (64, 128, 128, 10)
    assert mlp((8, 8), 3).sizes == (64, 256, 256, 256, 256, 3)
    for name, (make, shape) in BUILT_IN.items():
        assert make(shape, 7).name == name


def test_dictionary_round_trip():
    network = Network((3, 5), [Dense(7), Dense(2)], "odd")
    assert Network.from_dict(network.to_dict()) == network


@pytest.mark.parametrize(
    ("units", "text"),
    [(0, "not 0"), (-3, "not -3"), (2.5, "not 2.5"), (True, "not True"), ("8", "not '8'"), (None, "not None")],
)
def test_dense_needs_units(units, text):
    with pytest.raises(ValueError, match=f"Dense needs a positive whole number of units, {text}"):
        Dense(units)


@pytest.mark.parametrize("shape", [(), (0,), (28, -1), (2.5,), ("8", 8), (True,)])
def test_input_shape_is_positive(shape):
    with pytest.raises(ValueError, match="input_shape must be one or more positive whole numbers"):
        Network(shape, [Dense(2)])


def test_numpy_integers():
    network = Network(np.array([4, 4]), [Dense(np.int64(8)), Dense(np.uint8(2))])
    assert network == Network((4, 4), [Dense(8), Dense(2)])
    assert {type(size) for size in network.sizes} == {int}
    assert {type(n) for n in network.input_shape} == {int}


def test_layers_are_needed_and_known():
    with pytest.raises(ValueError, match="a network needs at least one layer"):
        Network((4,), [])
    with pytest.raises(ValueError, match="layer 'pool' is of no kind that can be trained here; there is: Dense"):
        Network((4,), ["pool"])
    with pytest.raises(ValueError, match="at least 2 classes, not 1"):
        Network((4,), [Dense(1)])


def test_network_file(tmp_path):
    text = "name: mine\ninput_shape: [28, 28]\nlayers: [{dense: 512}, {dense: 10}]\n"
    network = Network.from_file(write(tmp_path, text))
    assert network == Network((28, 28), [Dense(512), Dense(10)], "mine")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "needs the keys input_shape and layers"),
        ("layers: [{dense: 10}]", "needs the keys input_shape and layers"),
        ("input_shape: [4]\nlayers: [{dense: 4}]\ndepth: 3", "needs the keys"),
        ("input_shape: 4\nlayers: [{dense: 4}]", "input_shape and layers must be lists"),
        ("input_shape: [4]\nlayers: [{conv: 4}]", r"layer 1 is {'conv': 4}; write it as {dense: UNITS}"),
        ("input_shape: [4]\nlayers: [{dense: 8}, {dense: many}]", "layer 2: Dense needs a positive whole number"),
        ("input_shape: [a]\nlayers: [{dense: 8}]", "input_shape must be"),
        ("input_shape: [4\nlayers", "is not YAML"),
        ("!!python/object/apply:os.system ['true']", "is not YAML"),
    ],
)
def test_bad_network_file(tmp_path, text, message):
    path = write(tmp_path, text)
    with pytest.raises(ValueError, match=message) as caught:
        Network.from_file(path)
    assert str(path) in str(caught.value)


def test_missing_and_binary_network_file(tmp_path):
    with pytest.raises(ValueError, match="No such file or directory"):
        Network.from_file(tmp_path / "none.yaml")
    (tmp_path / "binary.yaml").write_bytes(bytes(range(128, 256)))
    with pytest.raises(ValueError, match="is not YAML"):
        Network.from_file(tmp_path / "binary.yaml")
