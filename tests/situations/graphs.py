"""Models as ONNX and QONNX graphs, as their tools write them."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from chains import (
    DOUBLE,
    FLOAT,
    FLOAT16,
    INT8,
    INT64,
    NONE,
    ONE,
    UINT8,
    F,
    Graph,
    as_inputs,
    as_nodes,
    back_and_flat,
    begun,
    behind_pad,
    bits,
    channels_last,
    colour_steps,
    colours,
    convolved,
    decomposed,
    dense,
    dense_and_conv,
    dense_front,
    ended,
    ends_with,
    exchanged,
    flat_image,
    flat_numbers,
    four_bits,
    grey,
    grouped,
    in_double,
    in_half,
    inputs_first,
    map_of_thresholds,
    normed,
    normed_half,
    of_one_name,
    one_pixel,
    padded,
    pooled,
    quantised,
    reshaped,
    residual,
    rewritten,
    rows_apart,
    runs,
    scaled,
    sign,
    signs_of_weights,
    sized,
    squeezed,
    straight,
    straight_and_clipped,
    strided,
    three_axes,
    thresholds,
    through_identities,
    whole_weights,
    wide,
    with_dead_parts,
    without_names,
    xnor,
)
from foreign import agree

from bnnedge import importer
from situations import Row, works


@dataclasses.dataclass(frozen=True)
class Read:
    """A file and what was read of it."""

    path: Path
    imported: importer.Imported
    pixels: tuple[float, float]


def reads(make: Callable[[], Graph], pixels: tuple[float, float] = (-1, 1), name: str = "model.onnx", **options: Any) -> Any:
    """Something to do: write a graph, and import the file."""

    def act(folder: Path) -> Read:
        path = make().write(folder / name, **options)
        return Read(path, importer.load(path, pixels), pixels)

    return act


def same(read: Read, moved: Callable[[np.ndarray], np.ndarray] | None = None, images: int = 64) -> None:
    """The device predicts what onnxruntime or qonnx does."""
    agree(read.imported, runs(read.path, read.pixels, moved), images)


nhwc = functools.partial(same, moved=lambda x: x)
ROWS: list[Row] = []


def row(name: str, act: Callable[[Path], Any], outcome: Any) -> None:
    ROWS.append(Row(f"ONNX: {name}", act, outcome, needs=("qonnx", "onnxruntime")))


def listed(folder: Path, change: Callable[[Any], None], make: Callable[[], Graph] = normed) -> Read:
    import onnx

    model = make().model(batch="N")
    change(model.graph)
    onnx.save(model, folder / "model.onnx")
    return Read(folder / "model.onnx", importer.load(folder / "model.onnx", (-1, 1)), (-1, 1))


# A batch in the file, and the type of its input.
for batch in ("N", 0, -1, None):
    row(f"a batch of {batch!r}", reads(normed, batch=batch), same)
    row(f"a map, and a batch of {batch!r}", reads(convolved, batch=batch), same)
row("a batch of 16, in a Reshape, too", reads(lambda: reshaped(16, -1), batch=16), same)
row("a batch of 16, all sides in a Reshape", reads(lambda: reshaped(16, 32), batch=16), same)
row("a Reshape of an open batch", reads(lambda: reshaped(-1, 32), batch="batch"), same)
row("a Reshape that keeps the batch by 0", reads(lambda: reshaped(0, 32), batch="batch"), same)


def without_shape(folder: Path) -> Any:
    import onnx

    model = normed().model()
    model.graph.input[0].type.tensor_type.ClearField("shape")
    onnx.save(model, folder / "model.onnx")
    return importer.load(folder / "model.onnx", (-1, 1))


row("an input without a shape", without_shape, "input 'image' must have 2 to 4 axes.*export")
row(
    "sides that are open", reads(lambda: Graph("H", "W").add("Flatten")), "input 'image' is of shape .*: its sides must be stated"
)  # type: ignore[arg-type]
row(
    "an input of bytes",
    reads(lambda: convolved(lambda g: g.add("Cast", to=FLOAT).add("Sub", F(127.5))), (0, 255), type=UINT8),
    same,
)
row("an input of signed bytes", reads(lambda: convolved(lambda g: g.add("Cast", to=FLOAT)), (-128, 127), type=INT8), same)
row(
    "bytes, and pixels from 0 to 1",
    reads(lambda: convolved(lambda g: g.add("Cast", to=FLOAT)), (0, 1), type=UINT8),
    "input 'image' takes uint8: `pixels` must be whole numbers",
)
row("an input of doubles", reads(lambda: convolved(lambda g: g.add("Cast", to=FLOAT)), type=DOUBLE), same)
row("all numbers doubles", functools.partial(listed, change=in_double, make=convolved), works)
row("all numbers half floats", functools.partial(listed, change=in_half, make=convolved), same)
row("an input of half floats", reads(normed_half, type=FLOAT16), same)

# Ends.
row("TopK, its indices the output", reads(ends_with("TopK", np.array([1]), output=1, axis=-1), made=INT64), same)
row("TopK of the three best, indices", reads(ends_with("TopK", np.array([3]), output=1), made=INT64), works)
row("ArgMax", reads(ends_with("ArgMax", axis=1, keepdims=0), batch="N", made=INT64), same)
row("ArgMax along images", reads(ends_with("ArgMax", axis=0)), r"\(ArgMax\) must find the largest along the classes")
row("ArgMax without an axis", reads(ends_with("ArgMax")), r"\(ArgMax\) must find the largest along the classes.*axis 0")
row("the smallest", reads(ends_with("TopK", np.array([1]), output=1, largest=0)), r"\(TopK\) must find the largest")
row("LogSoftmax", reads(ends_with("LogSoftmax", axis=1)), same)
row("Softmax along images", reads(ends_with("Softmax", axis=0)), r"\(Softmax\) must find the largest along the classes")
row(
    "a Softmax in the middle",
    reads(lambda: dense(lambda g: sign(g.add("Softmax", axis=1)))),
    r"\(GreaterOrEqual\) stands behind node .* \(Softmax\)",
)
row(
    "probabilities in per cent",
    reads(lambda: normed().add("Softmax", axis=1).add("Mul", F(100))),
    r"\(Mul\) stands behind node .* \(Softmax\)",
)
row("logits turned", reads(lambda: normed().add("Neg")), same)
row("logits in another shape", reads(lambda: normed().add("Reshape", np.array([-1]))), same)
row("a class cast", reads(lambda: normed().add("ArgMax", axis=1).add("Cast", to=6), made=6), same)
row("two outputs", reads(normed, outputs=("tensor3", "tensor5")), "one input and one output: it has 'image', 'tensor3'")


# Constants, and what is not needed.
row("constants listed as inputs", functools.partial(listed, change=as_inputs), same)
row("constants listed as inputs, before the image", functools.partial(listed, change=inputs_first), same)
row("constants as nodes", functools.partial(listed, change=as_nodes), same)
row("constants through Identity", functools.partial(listed, change=through_identities), same)
row("constants and nodes that nothing needs", functools.partial(listed, change=with_dead_parts), same)
row("nodes of one name", functools.partial(listed, change=of_one_name), works)
row(
    "nodes of onnxruntime's own",
    functools.partial(listed, change=rewritten),
    "domain 'com.microsoft.nchwc': .*before onnxruntime",
)
row("nodes without names", functools.partial(listed, change=without_names), same)
row("weights of bytes, cast and scaled", reads(lambda: ended(whole_weights(sign(begun(32))), 16)), same)
row("weights behind a Sign", reads(lambda: ended(signs_of_weights(sign(begun(32))), 16)), same)

# Windows and padding.
for mode in ("SAME_UPPER", "SAME_LOWER"):
    row(f"auto_pad {mode}", reads(lambda mode=mode: convolved(auto_pad=mode)), same)
row("auto_pad SAME_UPPER, strides of 2", reads(lambda: strided("SAME_UPPER")), same)
row("auto_pad SAME_LOWER, strides of 2", reads(lambda: strided("SAME_LOWER")), r"\(Conv\) pads by \(1, 1, 0, 0\): the device's")
row("a Pad of zeros before a convolution", reads(lambda: behind_pad(padded())), same)
row("a Pad of -1", reads(lambda: behind_pad(padded(-ONE))), r"\(Pad\) cannot take .*: the device pads with zeros")
row("a Pad that reflects", reads(lambda: behind_pad(padded(mode="reflect"))), r"\(Pad\) cannot take .*pads with zeros")
row("a Pad before a sign", reads(lambda: behind_pad(lambda g: sign(padded()(g)))), "gets zeros of padding")
row(
    "a Pad before dense weights",
    reads(lambda: ended(Graph(22).add("Pad", np.array([0, 1, 0, 1])))),
    r"\(MatMul\) gets zeros of padding",
)

# Axes.
row("channels last, and a Transpose in front, as of tf2onnx", reads(channels_last, batch="unk__1"), nhwc)
row("a Transpose before a Reshape, as of tf2onnx", reads(back_and_flat, batch="N"), nhwc)
row(
    "one channel by Unsqueeze",
    reads(lambda: grey("Unsqueeze", np.array([1]))),
    lambda read: same(read, lambda x: x[..., 0] if x.ndim == 4 else x),
)
row("a flat image, by Reshape a map", reads(flat_image), lambda read: same(read, lambda x: x.reshape(len(x), -1)))
row("Squeeze of one channel", reads(squeezed), same)
row("Squeeze of a map of one pixel", reads(one_pixel), same)
row("a map flattened after a pool, odd sides", reads(pooled), same)
row("channels last of a dense model", reads(colours), nhwc)
row(
    "height and width exchanged in the middle",
    reads(exchanged),
    r"\(Conv\) gets a map whose axes have been exchanged",
)
row("matrices of three axes", reads(three_axes), same)
row(
    "numbers of channels behind a flattened map",
    reads(lambda: flat_numbers(lambda rng: np.repeat(rng.normal(0, 1, 6), 20))),
    same,
)
row(
    "numbers of places behind a flattened map",
    reads(lambda: flat_numbers(lambda rng: rng.normal(0, 1, 120))),
    r"\(Add\) has numbers for other axes than the channels of \[5, 4, 6\]",
)
row("a layer for each row", reads(rows_apart), r"\(MatMul\) gets \[1, 4, 8\] and treats each row by itself.*flatten")

# Arithmetic.
row("Gemm with alpha and beta", reads(scaled), same)
row("MatMul and Add", reads(lambda: dense(lambda g: sign(g.add("Add", g.rng.normal(0, 2, 24).astype(F), first=False)))), same)
row(
    "a batch norm as Mul and Add of (1, C, 1, 1)",
    reads(lambda: decomposed((1, 6, 1, 1))),
    same,
)
row(
    "numbers for each row of a map",
    reads(lambda: decomposed((1, 1, 5, 1))),
    r"\(Mul\) has numbers for other axes than the channels",
)
row(
    "pixels scaled in front",
    reads(lambda: dense_front(lambda g: g.add("Div", F(255)).add("Sub", F(0.1307)).add("Div", F(0.3081))), (0, 255)),
    same,
)
row(
    "pixels of bytes scaled behind a Cast, as PyTorch writes x / 255",
    reads(lambda: dense_front(lambda g: g.add("Cast", to=FLOAT).add("Div", F(255))), (0, 255), type=UINT8),
    same,
)
row("bytes of which four bits are left", reads(lambda: dense_front(four_bits), (0, 255), type=UINT8), same)
row("pixels compared with a half", reads(lambda: dense_front(lambda g: sign(g.add("Sub", F(0.5)))), (0, 1)), same)
row("pixels of 0 and 1", reads(lambda: dense_front(lambda g: g.add("Greater", F(0.5)).add("Cast", to=FLOAT)), (0, 1)), same)
row(
    "zeros around pixels of 0..1",
    reads(lambda: convolved(auto_pad="SAME_UPPER"), (0, 1)),
    r"\(Conv\) pads pixels with zeros, but .* train with pixels from -1 to 1",
)
row("a window of 9 x 9", reads(lambda: wide(kernel_shape=[9, 9])), r"\(Conv\): kernel .* in 1..7, not 9")
row("strides of 3", reads(lambda: wide(strides=[3, 3], kernel_shape=[3, 3])), r"\(Conv\): stride .* in 1..2, not 3")
row(
    "a mean for each colour",
    reads(lambda: convolved(lambda g: g.add("Sub", np.array([0.1, 0.2], F).reshape(2, 1, 1)))),
    r"\(Sub\) treats the channels of pixels differently",
)
row(
    "a number times itself", reads(lambda: dense(lambda g: sign(g.add("Mul", g.last)))), r"\(Mul\) takes 'tensor1' more than once"
)
row(
    "what it gets as divisor",
    reads(lambda: dense(lambda g: sign(g.add("Div", ONE, first=False)))),
    r"\(Div\) divides by what it gets",
)
row(
    "a batch norm in training",
    reads(lambda: dense(lambda g: sign(g.norm(24, 0.5, training_mode=1))), opset=15),
    r"model.eval\(\)",
)

row("a dropout in training", reads(lambda: normed(lambda g: sign(g.add("Dropout", F(0.5), np.array(True))))), r"model.eval\(\)")
row("groups of channels", reads(grouped), r"\(Conv\) cannot take .*: it has groups")
row("a convolution behind dense weights", reads(dense_and_conv), r"\(Conv\) takes what a dense layer makes")

# Signs.
row("Less, and Where the other way round", reads(lambda: normed(lambda g: g.add("Less", NONE).add("Where", -ONE, ONE))), same)
row("Where of a negated condition", reads(lambda: normed(lambda g: g.add("Less", NONE).add("Not").add("Where", ONE, -ONE))), same)
row(
    "Larq's sign through tf2onnx: sign(sign(x) + 0.1)",
    reads(lambda: normed(lambda g: g.add("Sign").add("Add", F(0.1)).add("Sign"))),
    same,
)
row("a comparison cast to numbers: 2 (x >= 0) - 1", reads(lambda: normed(bits)), same)
row(
    "a comparison with a threshold for each channel",
    reads(lambda: dense(lambda g: g.add("Greater", g.rng.normal(0, 3, 24).astype(F)).add("Where", ONE, -ONE))),
    same,
)
row("a hard tanh before the sign", reads(lambda: normed(lambda g: sign(g.add("Clip", -ONE, ONE)))), same)
row("a Clip of one side", reads(lambda: normed(lambda g: sign(g.add("Clip", "", ONE)))), same)
row("a Relu before the sign", reads(lambda: normed(lambda g: sign(g.add("Relu")))), r"\(Relu\) .* is no sign")
row("x + (sign(x) - x), a straight-through estimator", reads(lambda: normed(straight)), same)
row("(sign(x) - clip(x)) + clip(x)", reads(lambda: normed(straight_and_clipped)), same)
row("weights w + (sign(w) - w), scaled by their mean size", reads(xnor), same)
row("x + dense(x)", reads(residual), r"is taken by .*\(Gemm\), .*\(Add\).*chains of layers")
row("x times its sign", reads(lambda: normed(sized)), "is no sign")
DRAWN = np.random.default_rng(9).normal(0, 3, 24).astype(F)
row("Less, thresholds for each channel", reads(lambda: dense(lambda g: g.add("Less", DRAWN).add("Where", -ONE, ONE))), same)
row(
    "thresholds on the left",
    reads(lambda: dense(lambda g: g.add("LessOrEqual", DRAWN, first=False).add("Where", ONE, -ONE))),
    same,
)
row("a sign of signs", reads(lambda: normed(lambda g: sign(sign(g)))), same)
row("a sign of what is turned", reads(lambda: normed(lambda g: sign(g.add("Neg")))), same)
row("signs the other way round", reads(lambda: normed(lambda g: g.add("Less", NONE).add("Where", ONE, -ONE))), "is no sign")
row("signs and an offset", reads(lambda: normed(lambda g: sign(g).add("Add", F(0.5)))), r"\(Add\) is no sign")
row("signs of half the size", reads(lambda: normed(lambda g: sign(g).add("Mul", F(0.5)))), same)
row(
    "signs of other sizes",
    reads(lambda: normed(lambda g: sign(g).add("Mul", DRAWN))),
    r"\(Mul\) stands between a sign and a layer",
)
row("a batch norm of signs", reads(lambda: normed(lambda g: sign(g).norm(24))), r"\(BatchNormalization\) stands between a sign")
row("leaky units", reads(lambda: normed(lambda g: g.add("LeakyRelu", alpha=0.1))), r"node '.*' \(LeakyRelu\)")
row("PReLU", reads(lambda: normed(lambda g: g.add("PRelu", np.full(24, 0.1, F)))), r"node '.*' \(PRelu\)")
row("bits of 0 and 1", reads(lambda: normed(lambda g: g.add("Greater", NONE).add("Cast", to=FLOAT))), "is no sign")

# QONNX: thresholds, a number for each channel.
few = functools.partial(same, images=40)
row("MultiThreshold, one for each channel", reads(lambda: dense(thresholds)), few)
row("MultiThreshold, one for all", reads(lambda: dense(lambda g: thresholds(g, 1))), few)
row("MultiThreshold of a map", reads(lambda: map_of_thresholds([0, 1, 2, 3], "NCHW")), few)
row("MultiThreshold of a map, channels last", reads(lambda: map_of_thresholds([0, 2, 3, 1], "NHWC")), few)
row("MultiThreshold of two bits", reads(lambda: dense(lambda g: thresholds(g, columns=3))), "has 3 thresholds for each channel")
row(
    "MultiThreshold of other channels",
    reads(lambda: dense(lambda g: thresholds(g, 12))),
    "12 thresholds, but not as many channels",
)
row("MultiThreshold of 0 and 1", reads(lambda: dense(lambda g: thresholds(g, out_scale=1.0, out_bias=0.0))), "is no sign")
SCALES = np.linspace(0.1, 0.3, 24)
row("BipolarQuant of weights, a scale for each output", reads(lambda: quantised(SCALES[:, None], 1)), few)
row("BipolarQuant of weights, a scale for each input", reads(lambda: quantised(np.linspace(1, 2, 32), 1)), "are not binary")
row(
    "BipolarQuant of signs, a scale for each channel",
    reads(lambda: quantised(1, SCALES)),
    r"has 24 numbers, one for each channel",
)
row("BipolarQuant of signs, the same scale for each channel", reads(lambda: quantised(1, np.full(24, 0.5))), few)
row(
    "Quant of pixels, a scale for each colour",
    reads(lambda: convolved(colour_steps)),
    r"\(Quant\) has 2 numbers, one for each channel or place",
)


def cleaned(folder: Path) -> Any:
    """Our own QONNX export, through `qonnx-cleanup`."""
    import onnx
    from qonnx.util.cleanup import cleanup

    from bnnedge import export

    first = reads(normed)(folder)
    export.save(folder / "ours.onnx", export.fold(first.imported.checkpoint), "qonnx")
    cleanup(str(folder / "ours.onnx"), out_file=str(folder / "clean.onnx"))
    clean = onnx.load(folder / "clean.onnx")
    assert clean.graph.input[0].type.tensor_type.shape.dim[0].dim_value == 1
    return importer.load(folder / "clean.onnx", (0, 255))


row("our own QONNX export, through qonnx-cleanup", cleaned, "bnnedge exported it: go on from its checkpoint")


def below_zero(graph: Graph) -> None:
    """A batch norm of a variance below zero."""
    ones = np.ones(24, F)
    sign(graph.add("BatchNormalization", ones, ones, ones, -ones))


row("a variance below zero", reads(lambda: dense(below_zero)), "has numbers that are infinite or none")
row(
    "two branches side by side",
    reads(lambda: dense(lambda graph: sign(graph.add("Concat", graph.last, axis=1)))),
    "models must be chains of layers",
)
row("a range of pixels of three numbers", reads(normed, (0, 1, 2)), "pixels must be two numbers, for black and for white")
