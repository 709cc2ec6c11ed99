"""Network descriptions: what they compute, and what is refused with which words."""

import json

import numpy as np
import pytest

from bnnedge.network import (
    BUILT_IN,
    Conv2D,
    Dense,
    Flatten,
    Geometry,
    MaxPool2D,
    Network,
    binarynet,
    check_network,
    cnv,
    digits,
    mlp,
)


def write(folder, text):
    path = folder / "network.yaml"
    path.write_text(text)
    return path


def test_dense_network():
    network = Network((4, 4), [Dense(32), Dense(5)], "small")
    assert network.sizes == (16, 32, 5)
    assert network.classes == 5
    assert network.weights == 16 * 32 + 32 * 5
    assert (network.name, network.input_shape) == ("small", (4, 4))
    assert network.geometry == (
        Geometry("layer 1 (dense 32)", 1, 1, 16, 1, 1, 1, 0, 0, 32, 1, 1, "none", False),
        Geometry("layer 2 (dense 5)", 1, 1, 32, 1, 1, 1, 0, 0, 5, 1, 1, "none", False),
    )


def test_geometry_of_convolutions():
    layers = [Conv2D(8), MaxPool2D(), Conv2D(16, 3, 2, "same"), Conv2D(4, 2), MaxPool2D("sums"), Flatten(), Dense(3)]
    network = Network((20, 12, 2), layers)
    assert network.geometry == (
        Geometry("layer 1 (conv2d 8)", 20, 12, 2, 3, 3, 1, 0, 0, 8, 18, 10, "signs", True),
        Geometry("layer 2 (conv2d 16)", 9, 5, 8, 3, 3, 2, 1, 1, 16, 5, 3, "none", False),
        Geometry("layer 3 (conv2d 4)", 5, 3, 16, 2, 2, 1, 0, 0, 4, 4, 2, "sums", False),
        Geometry("layer 4 (dense 3)", 2, 1, 4, 2, 1, 1, 0, 0, 3, 1, 1, "none", False),
    )
    first, _, third, last = network.geometry
    assert (first.fan_in, first.fan_out, first.taps, first.tap_inputs) == (18, 8, 3, 6)
    assert (third.fan_in, third.taps, third.tap_inputs) == (64, 4, 16)
    assert (last.fan_in, last.taps, last.tap_inputs) == (8, 2, 4)
    assert (first.outputs, first.samples, first.pooled_height, first.pooled_width) == (180, 180, 9, 5)
    assert (third.outputs, third.samples, third.pooled_height, third.pooled_width) == (8, 2, 2, 1)
    assert Network((20, 12, 2), [item for item in layers if item != Flatten()]).geometry == network.geometry


@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize(("kernel", "stride"), [(1, 1), (2, 1), (3, 1), (3, 2), (4, 2), (7, 2)])
@pytest.mark.parametrize("side", range(7, 16))
def test_a_pool_takes_no_part_of_the_last_row_of_an_odd_map(side, kernel, stride, padding):
    """The windows stay where they would be without a pool, and every row of them meets a pixel."""
    layer = Conv2D(4, kernel, stride, padding)
    plain = Network((side, side + 1), [layer, Dense(2)]).geometry[0]
    if plain.out_height < 2 or plain.out_width < 2:
        return
    pooled, above = Network((side, side + 1), [layer, MaxPool2D(), Dense(2)]).geometry
    assert (pooled.out_height, pooled.out_width) == (plain.out_height // 2 * 2, plain.out_width // 2 * 2)
    assert (above.height, above.width) == (plain.out_height // 2, plain.out_width // 2)
    assert (pooled.pad_y, pooled.pad_x) == (plain.pad_y, plain.pad_x)
    for y in range(kernel):
        assert any(0 <= oy * stride + y - pooled.pad_y < side for oy in range(pooled.out_height))


def test_built_in_networks():
    assert mlp().sizes == (784, 256, 256, 256, 256, 10)
    assert digits().sizes == (64, 128, 128, 10)
    assert mlp((8, 8), 3).sizes == (64, 256, 256, 256, 256, 3)
    assert (mlp().weights, cnv().weights, binarynet().weights) == (399_872, 1_542_848, 14_022_016)
    for name, (make, shape) in BUILT_IN.items():
        network = make(shape, 7)
        assert (network.name, network.input_shape, network.classes) == (name, shape, 7)


def test_maps_of_cnv_and_binarynet():
    assert [layer.height for layer in cnv().geometry] == [32, 30, 14, 12, 5, 3, 1, 1, 1]
    assert [layer.pool for layer in cnv().geometry] == ["none", "signs", "none", "signs"] + ["none"] * 5
    assert [layer.height for layer in binarynet().geometry] == [32, 32, 16, 16, 8, 8, 4, 1, 1]
    assert [layer.pool for layer in binarynet().geometry] == ["none", "sums"] * 3 + ["none"] * 3
    assert [layer.fan_out for layer in cnv(width=0.5).geometry] == [32, 32, 64, 64, 128, 128, 256, 256, 10]
    assert [layer.fan_out for layer in binarynet(width=0.25).geometry] == [32, 32, 64, 64, 128, 128, 256, 256, 10]


@pytest.mark.parametrize(
    "network",
    [
        Network((3, 5), [Dense(7), Dense(2)], "odd"),
        cnv(),
        binarynet((16, 16), 3),
        Network((9, 9), [Conv2D(4, 5, 2), Conv2D(4, stride=2), Dense(2)]),
    ],
)
def test_dictionary_round_trip(network):
    assert Network.from_dict(network.to_dict()) == network


def test_dictionary_is_short():
    layers = [Conv2D(4), MaxPool2D(), Conv2D(4, padding="same"), MaxPool2D("sums"), Flatten(), Dense(2)]
    assert Network((10, 10), layers).to_dict()["layers"] == [
        {"conv2d": 4},
        "maxpool2d",
        {"conv2d": {"filters": 4, "padding": "same"}},
        {"maxpool2d": "sums"},
        "flatten",
        {"dense": 2},
    ]


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


@pytest.mark.parametrize(("shape", "moved"), [((3, 32, 32), "32, 32, 3"), ((1, 28, 28), "28, 28, 1"), ((4, 9, 6), "9, 6, 4")])
def test_channels_first_are_told(shape, moved):
    for layers in ([Conv2D(8, 1), Dense(2)], [Dense(2)]):
        told = rf"input_shape is .*: channels first\? move them last: \({moved}\); if {shape[0]} is the height, exchange it "
        with pytest.raises(ValueError, match=told):
            Network(shape, layers)


@pytest.mark.parametrize("shape", [(2, 32, 32), (5, 64, 64)])
def test_what_may_be_channels_first_is_told_where_it_does_not_fit(shape):
    with pytest.raises(ValueError, match=r"^layer 1 .*; input_shape .* is height, width and .*: are the channels first\?$"):
        Network(shape, [Conv2D(8), Dense(2)])


TAKEN = [(1, 128, 9), (3, 40, 13), (28, 28), (3, 32), (4, 4, 8), (1, 40, 2), (3, 3, 64), (32, 32, 3), (32, 8, 8), (3, 9, 3)]


@pytest.mark.parametrize("shape", TAKEN)
def test_other_shapes_are_taken(shape):
    assert Network(shape, [Dense(2)]).input_shape == shape


def test_numpy_integers():
    network = Network(np.array([4, 4]), [Dense(np.int64(8)), Dense(np.uint8(2))])
    assert network == Network((4, 4), [Dense(8), Dense(2)])
    assert {type(size) for size in network.sizes} == {int}
    assert {type(n) for n in network.input_shape} == {int}


def test_layers_are_needed_and_known():
    with pytest.raises(ValueError, match="a network needs at least one layer"):
        Network((4,), [])
    with pytest.raises(ValueError, match=r"layer 'pool' is of no kind .* there are: Conv2D, MaxPool2D, Flatten, Dense"):
        Network((4,), ["pool"])
    with pytest.raises(ValueError, match="at least 2 classes, not 1"):
        Network((4,), [Dense(1)])
    with pytest.raises(ValueError, match=r"the last layer must be Dense, with a unit for each class, not Flatten\(\)"):
        Network((4,), [Dense(4), Flatten()])


def test_sizes_are_of_dense_networks():
    with pytest.raises(ValueError, match="network 'cnv' has convolutions"):
        _ = cnv().sizes


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Conv2D(0), "Conv2D needs a positive whole number of filters, not 0"),
        (lambda: Conv2D(4, 8), "kernel of a Conv2D must be a whole number in 1..7, not 8"),
        (lambda: Conv2D(4, 0), "kernel of a Conv2D must be a whole number in 1..7, not 0"),
        (lambda: Conv2D(4, stride=3), "stride of a Conv2D must be a whole number in 1..2, not 3"),
        (lambda: Conv2D(4, stride=1.5), "stride of a Conv2D must be a whole number in 1..2, not 1.5"),
        (lambda: Conv2D(4, padding="full"), "padding of a Conv2D must be 'valid' or 'same', not 'full'"),
        (lambda: MaxPool2D("mean"), "a MaxPool2D is on 'signs' or 'sums', not 'mean'"),
    ],
)
def test_parameters_of_layers(make, text):
    with pytest.raises(ValueError, match=f"^{text}$"):
        make()


@pytest.mark.parametrize(
    ("shape", "layers", "text"),
    [
        ((9,), [Conv2D(3)], "a Conv2D needs an input_shape (height, width, channels), not (9,)"),
        ((9, 9, 1, 1), [Conv2D(3)], "a Conv2D needs an input_shape (height, width, channels), not (9, 9, 1, 1)"),
        ((9, 9), [MaxPool2D()], "a MaxPool2D must stand right behind a Conv2D, not first"),
        ((9, 9), [Dense(3), MaxPool2D()], "a MaxPool2D must stand right behind a Conv2D, not behind a Dense"),
        ((10, 10), [Conv2D(3), MaxPool2D(), MaxPool2D()], "a MaxPool2D must stand right behind a Conv2D, not behind a MaxPool2D"),
        ((9, 9), [Dense(3), Flatten()], "a Flatten must stand in front of the first Dense, not behind a Dense"),
        ((9, 9), [Conv2D(3), Dense(4), Conv2D(5)], "layer 3 (conv2d 5) stands behind a Dense: put it in front"),
        ((9, 9), [Flatten(), Conv2D(5)], "layer 1 (conv2d 5) stands behind a Flatten: put it in front"),
        (
            (3, 10),
            [Conv2D(3), MaxPool2D()],
            "layer 1 (conv2d 3): 1 x 8 outputs can't be pooled: 2 x 2 are needed at the least",
        ),
        (
            (3, 9),
            [Conv2D(3, 5, padding="same"), MaxPool2D()],
            "layer 1 (conv2d 3): pooling leaves 2 x 8 of its outputs, where the first rows of its window meet no pixel; "
            "a kernel of 4 fits",
        ),
        (
            (9, 4),
            [Conv2D(3), Conv2D(3)],
            "layer 2 (conv2d 3): its window of 3 x 3, padding 'valid', is too large for its input of 7 x 2; a kernel of 2 fits",
        ),
        (
            (3, 1),
            [Conv2D(3, 3, 1, "same")],
            "layer 1 (conv2d 3): its window of 3 x 3, padding 'same', is too large for its input of 3 x 1; a kernel of 1 fits",
        ),
        (
            (30, 30, 3),
            [Conv2D(3, 7)],
            "layer 1 (conv2d 3): a row of its window, 7 pixels of 3 channels, has 21 values; 16 fit, which is a kernel of 5",
        ),
        (
            (30, 30, 17),
            [Conv2D(3, 1)],
            "layer 1 (conv2d 3): a row of its window, 1 pixels of 17 channels, has 17 values; 16 fit, which is as many channels",
        ),
        ((256, 4), [Conv2D(3)], "layer 1 (conv2d 3): its input is 256 x 4; maps of up to 255 x 255 fit"),
        ((67, 66), [Conv2D(3)], "layer 1 (conv2d 3): 65 x 64 outputs are more than 4,096; 64 x 64 fit"),
    ],
)
def test_layers_that_do_not_fit(shape, layers, text):
    with pytest.raises(ValueError) as caught:
        Network(shape, [*layers, Dense(2)])
    assert str(caught.value) == text


@pytest.mark.parametrize(("side", "kernel", "stride"), [(2, 3, 1), (5, 5, 2), (4, 4, 2), (1, 1, 2), (7, 7, 1), (2, 2, 2)])
def test_same_padding(side, kernel, stride):
    """Every row of the window meets a pixel, and the missing rows lie on both sides, the smaller half on top."""
    layer = Network((side, side), [Conv2D(2, kernel, stride, "same"), Dense(2)]).geometry[0]
    outputs = -(-side // stride)
    assert (layer.out_height, layer.out_width) == (outputs, outputs)
    below = (outputs - 1) * stride + kernel - side - layer.pad_y
    assert layer.pad_y == layer.pad_x
    assert max(0, below) - layer.pad_y in (0, 1)
    for tap in range(kernel):
        assert any(0 <= y * stride + tap - layer.pad_y < side for y in range(outputs))


@pytest.mark.parametrize("layer", [Conv2D(5), Conv2D(5, 3, 2), Conv2D(5, 4, 2, "same"), Conv2D(5, 1, 2), Conv2D(5, 7, 1, "same")])
@pytest.mark.parametrize("side", [7, 12])
def test_reach_is_the_most_outputs_of_an_input(layer, side):
    layer = Network((side, side), [layer, Dense(2)]).geometry[0]
    seen = [
        sum(0 <= source - y * layer.stride + layer.pad_y < layer.kernel_y for y in range(layer.out_height))
        for source in range(side)
    ]
    assert layer.reach == layer.filters * max(seen) ** 2


def test_network_file_of_convolutions(tmp_path):
    text = """
        input_shape: [28, 28]
        layers:
        - conv2d: 16
        - maxpool2d
        - conv2d: {filters: 32, kernel: 5, stride: 2, padding: same}
        - conv2d: {filters: 8, kernel: 2}
        - maxpool2d: sums
        - flatten
        - dense: 10
    """
    layers = [Conv2D(16), MaxPool2D(), Conv2D(32, 5, 2, "same"), Conv2D(8, 2), MaxPool2D("sums"), Flatten(), Dense(10)]
    assert Network.from_file(write(tmp_path, text)) == Network((28, 28), layers)


def test_network_file(tmp_path):
    text = "name: mine\ninput_shape: [28, 28]\nlayers: [{dense: 512}, {dense: 10}]\n"
    network = Network.from_file(write(tmp_path, text))
    assert network == Network((28, 28), [Dense(512), Dense(10)], "mine")


ODD = "-1", "0", "1.5", "yes", "null", "x", "[4]", "[[4]]", "1e30", "99999999999999999999"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "needs the keys input_shape and layers"),
        ("layers: [{dense: 10}]", "needs the keys input_shape and layers"),
        ("input_shape: [4]\nlayers: [{dense: 4}]\ndepth: 3", "needs the keys"),
        ("input_shape: 4\nlayers: [{dense: 4}]", "input_shape and layers must be lists"),
        ("input_shape: [4]\nlayers: [{conv: 4}]", r"entry 1 of layers: {'conv': 4} is no layer; write {conv2d: FILTERS}, "),
        ("input_shape: [4]\nlayers: [dense]", "entry 1 of layers: dense needs units"),
        ("input_shape: [4]\nlayers: [{dense: 4, flatten: 3}]", "entry 1 of layers: .* is no layer"),
        ("input_shape: [4]\nlayers: [[dense]]", "entry 1 of layers: .* is no layer"),
        ("input_shape: [4]\nlayers: [{}]", "entry 1 of layers: {} is no layer"),
        ("input_shape: [4]\nlayers: [{conv2d: {size: 4}}]", "entry 1 of layers: conv2d needs filters and has no 'size'"),
        ("input_shape: [4]\nlayers: [{conv2d: {filters: 4, kernel: 9}}]", "entry 1 of layers: kernel of a Conv2D"),
        ("input_shape: [4]\nlayers: [{dense: 8}, {dense: many}]", "entry 2 of layers: Dense needs a positive whole number"),
        ("input_shape: [3, 32, 32]\nlayers: [{conv2d: 8}, {dense: 8}]", r"channels first\? move them last: \(32, 32, 3\)"),
        ("input_shape: [a]\nlayers: [{dense: 8}]", "input_shape must be"),
        ("input_shape: [4\nlayers", "is not YAML"),
        ("!!python/object/apply:os.system ['true']", "is not YAML"),
        ("input_shape: [4]\nlayers: [{dense: 2024-01-01}]", "entry 1 of layers: Dense needs a .* of units, not '2024-01-01'"),
        ("input_shape: [4]\nlayers: [{dense: 2024-13-45}]", "entry 1 of layers: Dense needs a .* of units, not '2024-13-45'"),
        ("input_shape: [4]\nlayers: " + "[" * 3000, "line 2, column .*: lists and tables are nested more than 20 deep"),
        ("a: &a [x]\nb: &b [*a, *a]", r"line 1, column 4: anchors \(&a\) and aliases"),
        ("input_shape: [4]\ninput_shape: [8]\nlayers: [{dense: 4}]", "line 2, column 1: the key 'input_shape' stands twice"),
        ("input_shape: [4]\nlayers: [{dense: " + "9" * 5000 + "}]", "line 2, column .*: a number has 5000 characters"),
        *((f"input_shape: [4]\nlayers: [{{dense: {n}}}]", "entry 1 of layers: Dense") for n in ODD),
        *((f"input_shape: [4, 4]\nlayers: [{{conv2d: {n}}}, {{dense: 4}}]", "entry 1 of layers: Conv2D") for n in ODD),
        *((f"input_shape: [{n}]\nlayers: [{{dense: 4}}]", "input_shape") for n in ODD),
        *((f"input_shape: {n}\nlayers: [{{dense: 4}}]", "input_shape") for n in ("-1", "null", "x", "[[4]]", "{}", "[]")),
        *((f"input_shape: [4]\nlayers: [{{maxpool2d: {n}}}]", "a MaxPool2D is on") for n in (3, "null", "[signs]")),
        *((f"input_shape: [4]\nlayers: {n}", "layers|at least one layer") for n in (3, "x", "{}", "[]", "[3]", "[null]", "[[]]")),
        *((f"name: {n}\ninput_shape: [4]\nlayers: [{{dense: 4}}]", "name must be text") for n in (8, "[x]", "null", "yes")),
        ("input_shape: [4]\nlayers: [{conv2d: {filters: 4, padding: [same]}}]", "padding of a Conv2D must be"),
        ("input_shape: [4]\nlayers: [{flatten: {a: 1}}]", "entry 1 of layers: flatten has no 'a'; there are none"),
        ("input_shape: [4]\nlayers: [{flatten: 3}]", "entry 1 of layers: flatten takes no 3"),
        ("[" + "x, " * 100_000 + "]", "it is larger than 262,144 bytes"),
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


def test_a_file_may_be_json(tmp_path):
    network = Network((8, 8, 3), [Conv2D(16, padding="same"), MaxPool2D("sums"), Dense(10)], "small")
    (tmp_path / "network.json").write_text(json.dumps(network.to_dict()))
    assert Network.from_file(tmp_path / "network.json") == network
    (tmp_path / "network.json").write_text('{"input_shape": [4], "layers": [{"dense": NaN}]}')
    with pytest.raises(ValueError, match=r"network\.json is not YAML or JSON of a network: NaN is no number of JSON"):
        Network.from_file(tmp_path / "network.json")


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (cnv, r"network is the function cnv: call it, cnv\(\)"),
        ("mlp", r"not a name: 'mlp' is made by a function, such as bnnedge.digits\(\)"),
        ("vgg", r"network must be a Network\(input_shape, layers\), not 'vgg'"),
        ([Dense(10)], r"network must be a Network\(input_shape, layers\), not \[Dense"),
        (None, r"network must be a Network\(input_shape, layers\), not None"),
    ],
)
def test_what_a_trainer_takes_for_a_network(given, text):
    with pytest.raises(ValueError, match=text):
        check_network(given)
