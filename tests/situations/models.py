"""Models whose predictions, sizes or layers need a second look."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import stacks
from chains import CUSTOM, NONE, ONE, THRESHOLD, F, Graph

from bnnedge import Trainer, export, importer
from situations import Row, bnnedge, says

KERAS = ("keras", "jax")
ONNX = ("onnx", "onnxruntime")
QONNX = (*ONNX, "qonnx")


def taken(make: Callable[[], Any], pixels: tuple[float, float] = (-1, 1), **options: Any) -> Callable[[Path], Any]:
    """Import a Keras model, or the file of a graph; return the notes."""

    def act(folder: Path) -> Any:
        made = make()
        if isinstance(made, Graph):
            return importer.load(made.write(folder / "model.onnx"), pixels, **options).notes
        return importer.understand(made, pixels, **options).notes

    return act


def silent(notes: Any) -> None:
    """An outcome: imported without a note but for one about the size of logits."""
    assert [note for note in notes if not note.startswith("logits are")] == []


def compared(make: Callable[[], Any], pixels: tuple[float, float] = (-1, 1)) -> Callable[[Path], Any]:
    """Import, and predict 200 images by the device and by the library."""

    def act(folder: Path) -> Any:
        made = make()
        if isinstance(made, Graph):
            from chains import runs

            path = made.write(folder / "model.onnx")
            imported, predict = importer.load(path, pixels), runs(path, pixels)
        else:
            imported = importer.understand(made, pixels)

            def predict(x: np.ndarray) -> np.ndarray:
                return np.asarray(made.predict(pixels[0] + (pixels[1] - pixels[0]) * x, verbose=0))

        shape = 200, *imported.checkpoint.network.input_shape
        images = np.random.default_rng(11).integers(0, 256, shape, dtype=np.uint8)
        return predict((images / 255).astype(np.float32)), export.fold(imported.checkpoint).infer(images), imported

    return act


def same(result: Any) -> None:
    """An outcome: the library's classes, of several, where logits are not equal, but for images with a tie, which are few."""
    theirs, ours, _ = result
    assert len(set(theirs.argmax(1))) > 1
    lost = ours.max(1) - ours[np.arange(len(ours)), theirs.argmax(1)]
    assert (lost <= 3).mean() >= 0.97, lost


def on(graph: Graph, *kinds: Any, outputs: int, inputs: int, bias: Any = None) -> Graph:
    """A dense layer of +1 and -1, and nodes behind it."""
    weights = graph.rng.choice([-1, 1], (outputs, inputs)).astype(F)
    graph.add("Gemm", weights, *([] if bias is None else [np.full(outputs, bias, F)]), transB=1)
    for kind, *more in kinds:
        attributes = more.pop() if more and isinstance(more[-1], dict) else {}
        graph.add(kind, *more, **attributes)
    return graph


def chain(*kinds: Any, inputs: int = 32, hidden: int = 24, bias: Any = None) -> Callable[[], Graph]:
    """Signs of pixels, a dense layer, nodes that make signs, and five classes."""

    def make() -> Graph:
        graph = Graph(inputs).add("GreaterOrEqual", NONE).add("Where", ONE, -ONE)
        on(graph, *kinds, outputs=hidden, inputs=inputs, bias=bias)
        return on(graph, outputs=5, inputs=hidden)

    return make


MULTIPLE = ("MultiThreshold", np.full((24, 1), 2, F), THRESHOLD)
GREATER = ("Greater", NONE), ("Where", ONE, -ONE)
BIPOLAR = (("BipolarQuant", ONE, {"domain": CUSTOM}),)
ZERO = says("makes 0 of 0, and the device +1")


def layers(*stack: Callable[[Any], Any], shape: tuple[int, ...] = (8, 8), **options: Any) -> Callable[[], Any]:
    """A Keras model of layers, each made of the module `keras.layers`."""

    def make() -> Any:
        from keras import layers as kinds

        return stacks.model(kinds.Input(shape), *(layer(kinds) for layer in stack), **options)

    return make


def pixels() -> Graph:
    return on(Graph(32).add("Sign"), outputs=5, inputs=32)


def signed(*units: int, **options: Any) -> Callable[[], Any]:
    return lambda: stacks.dense(*units, activation=stacks.sign, **options)


def flat(kinds: Any) -> Any:
    return kinds.Flatten()


def units(n: int, **options: Any) -> Callable[[Any], Any]:
    return lambda kinds: kinds.Dense(n, **options)


def filters(n: int, **options: Any) -> Callable[[Any], Any]:
    return lambda kinds: kinds.Conv2D(n, 3, **options)


def norm(**options: Any) -> Callable[[Any], Any]:
    return lambda kinds: kinds.BatchNormalization(**options)


def pool(**options: Any) -> Callable[[Any], Any]:
    return lambda kinds: kinds.MaxPooling2D(2, **options)


def sign(kinds: Any) -> Any:
    return kinds.Activation(stacks.binary)


def neighbours(x: Any) -> Any:
    """No function of each number by itself."""
    import keras

    return stacks.binary(x - keras.ops.mean(x, axis=-1, keepdims=True))


def gapped(x: Any) -> Any:
    """Ternary, though +1 and -1 of most numbers."""
    import keras

    return keras.ops.sign(keras.ops.round(3 * x))


def bytewise() -> Any:
    """A model that takes bytes."""
    from keras import layers as kinds

    scaled = kinds.Rescaling(1 / 127.5, -1), kinds.Flatten(), kinds.Dense(4)
    return stacks.model(kinds.Input((4, 4), dtype="uint8"), *scaled)


def half() -> Any:
    import keras

    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        return stacks.dense(16, 5)
    finally:
        keras.config.set_dtype_policy(before)


def changed(make: Callable[[], Any], change: Callable[[Any], Any]) -> Callable[[], Any]:
    """A model after something has been done to it."""

    def act() -> Any:
        made = make()
        change(made)
        return made

    return act


def filled(layer: int, place: int, value: float) -> Callable[[Any], None]:
    """Let an array of a layer be of one value."""

    def change(made: Any) -> None:
        weights = made.layers[layer].get_weights()
        weights[place] = np.full_like(weights[place], value)
        made.layers[layer].set_weights(weights)

    return change


def twice() -> Any:
    """A layer that is used twice, which the list of layers does not tell."""
    import keras

    kinds = keras.layers
    entry = kinds.Input((16,))
    middle = kinds.Dense(16, name="twice", use_bias=False)
    value = kinds.Activation(stacks.binary)(middle(entry))
    value = kinds.Activation(stacks.binary)(middle(value))
    made = keras.Model(entry, kinds.Dense(4, use_bias=False)(value))
    rng = np.random.default_rng(1)
    for layer in made.layers:
        if type(layer).__name__ == "Dense":
            layer.set_weights([rng.choice([-1.0, 1.0], layer.kernel.shape)])
    return made


def narrow(make: Callable[..., Any] = stacks.binarynet, **options: Any) -> Callable[[], Any]:
    return lambda: make(0.03, trained=True, **options)


def issue() -> Any:
    """A convolution whose weight gradients are too large for batches of 128."""
    return layers(filters(16), norm(), sign, flat, units(10), norm(), shape=(32, 32, 3))()


def command(*options: str) -> Callable[[Path], str]:
    def act(folder: Path) -> str:
        issue().save(folder / "model.keras")
        return bnnedge("import", folder / "model.keras", "--pixels=-1,1", *options)

    return act


def trained(make: Callable[[], Any]) -> Callable[[Path], Any]:
    """Import, evaluate, and train on a step."""

    def act(folder: Path) -> Any:
        imported = importer.understand(make(), (-1, 1), batch=64)
        shape = 64, *imported.checkpoint.network.input_shape
        x, y = np.random.default_rng(2).integers(0, 256, shape, dtype=np.uint8), np.arange(64) % 10
        with Trainer.load(imported.checkpoint) as trainer:
            trainer.evaluate(x[:8], y[:8])
            trainer.fit(x, y, steps=1)
            return trainer.state

    return act


def stepped(state: Any) -> None:
    assert state.step == 1


SIGNS = [
    Row("ONNX Sign of sums that can be 0", taken(chain(("Sign",))), ZERO, ONNX),
    Row("ONNX Sign of sums that are odd", taken(chain(("Sign",), inputs=31, hidden=23)), silent, ONNX),
    Row("ONNX Sign of sums that are odd, predictions", compared(chain(("Sign",), inputs=31, hidden=23)), same, ONNX),
    Row("ONNX Sign behind a bias of halves", taken(chain(("Sign",), bias=0.5)), silent, ONNX),
    Row("ONNX Sign behind a bias that sums can equal", taken(chain(("Sign",), bias=-4)), ZERO, ONNX),
    Row("ONNX Sign behind an odd bias of even sums", taken(chain(("Sign",), bias=3)), silent, ONNX),
    Row("ONNX Sign of signs of Sign", taken(chain(("Sign",), ("Sign",))), ZERO, ONNX),
    Row("a sign that makes -1 of 0", compared(chain(*GREATER)), same, ONNX),
    Row("a sign that makes -1 of 0, notes", taken(chain(*GREATER)), silent, ONNX),
    Row("a sign that makes -1 of 0 behind a bias", compared(chain(*GREATER, bias=-4)), same, ONNX),
    Row("QONNX BipolarQuant of sums that can be 0", compared(chain(*BIPOLAR)), same, QONNX),
    Row("QONNX BipolarQuant behind a whole bias", compared(chain(*BIPOLAR, bias=2)), same, QONNX),
    Row("MultiThreshold at sums that occur", compared(chain(MULTIPLE)), same, QONNX),
    Row("ONNX Sign of pixels that can be 0", taken(pixels, (0, 1)), "something else than evenly spaced steps", ONNX),
    Row("Keras's sign without batch norm", taken(signed(32, 10, norm=False)), ZERO, KERAS),
    Row("Keras's sign behind a fresh batch norm", taken(signed(32, 10)), ZERO, KERAS),
    Row("Keras's sign behind a trained one", taken(signed(32, 10, trained=True)), silent, KERAS),
    Row("Keras's sign of odd sums", taken(signed(31, 9, 10, shape=(7, 9))), silent, KERAS),
    Row(
        "Keras's sign of a padded convolution, whose sums are odd inside and even at the edge",
        taken(layers(filters(4, padding="same"), lambda kinds: kinds.Activation(stacks.sign), flat, units(4), shape=(6, 6, 1))),
        ZERO,
        KERAS,
    ),
    Row("classes of equal weights", taken(changed(lambda: stacks.dense(24, 4), filled(5, 0, 1.0))), silent, KERAS),
]

FRESH = [
    Row("fresh: three dense layers", compared(lambda: stacks.dense(32, 24, 10)), same, KERAS),
    Row("fresh: a wide last layer", compared(lambda: stacks.dense(32, 256, 10)), same, KERAS),
    Row("fresh: logits are said to be smaller", taken(lambda: stacks.dense(32, 64, 10)), says("logits are", "saturate"), KERAS),
    Row("fresh: without batch norm", compared(lambda: stacks.dense(64, 64, 10, norm=False)), same, KERAS),
    Row("fresh: one layer", compared(lambda: stacks.dense(10)), same, KERAS),
    Row("fresh: pixels 0..1", compared(lambda: stacks.dense(33, 64, 10), (0, 1)), same, KERAS),
    Row("fresh: convolution and pool", compared(layers(
        filters(6), norm(), sign, pool(), filters(8), norm(), sign, flat, units(10), norm(), shape=(10, 10, 3),
    )), same, KERAS),
    Row("a last batch norm of large scales", compared(changed(lambda: stacks.dense(24, 10), filled(-1, 0, 40.0))), same, KERAS),
    Row("a last batch norm of no variance", compared(changed(lambda: stacks.dense(24, 10), filled(-1, 3, 0.0))), same, KERAS),
    Row("a last batch norm of large offsets", compared(changed(lambda: stacks.dense(24, 10), filled(-1, 1, 1e4))), same, KERAS),
    Row("a class that never wins", taken(changed(
        layers(flat, units(16), sign, units(4)), lambda made: made.layers[-1].bias.assign([0, 1, 2, -1e6])
    )), says("logits are"), KERAS),
]  # fmt: skip

SIZES = [
    Row("a batch that does not fit", taken(issue), says("batches of 128 images do not fit: training takes 64"), KERAS),
    Row("a batch of one's own that does not fit", taken(issue, batch=128), "this fits: a batch of 64", KERAS),
    Row("a batch of one's own", taken(issue, batch=64, gradient_planes=4), silent, KERAS),
    Row("no batch at all", taken(issue, batch=100), "batch must be a multiple of 16", KERAS),
    Row("an accelerator of one's own", taken(issue, batch=64, configuration="pynq-z2-lean"), silent, KERAS),
    Row("an accelerator that there is not", taken(issue, configuration="pynq-z3"), "no configuration 'pynq-z3'", KERAS),
    Row("more slope planes than pixels have", taken(chain(*GREATER), slope_planes=2), "slope_planes must be in 1..1", ONNX),
    Row("the command without a batch", command(), says("note: batches of 128 images do not fit: training takes 64"), KERAS),
    Row("the command with options", command("--batch=64", "--grad-planes=4", "--config=pynq-z2"), says("model.npz"), KERAS),
    Row("CNV, narrow, evaluated and trained on", trained(narrow(stacks.cnv)), stepped, KERAS),
    Row("BinaryNet, narrow", trained(narrow(side=16)), stepped, KERAS),
    Row("Larq's BinaryNet, which pools maps of odd sides", trained(narrow(first="valid", side=20)), stepped, KERAS),
]

DIFFERENCES = [
    Row("a batch norm over rows", taken(layers(filters(6), norm(axis=1), sign, flat, units(4), shape=(8, 8, 1))),
        r"layer 'batch_norm.* is over axis 1 of its input", KERAS),
    Row("weights that are NaN", taken(changed(lambda: stacks.dense(16, 4), filled(1, 0, np.nan))),
        r"layer 'dense.*\(Dense\) has numbers that are infinite or none", KERAS),
    Row("a variance below zero", taken(changed(lambda: stacks.dense(16, 4), filled(2, 2, -1.0))),
        r"\(BatchNormalization\) has numbers that are infinite or none", KERAS),
    Row("a convolution at the end", taken(layers(lambda kinds: kinds.Reshape((8, 8, 1)), filters(4), flat)),
        r"ends with layer 'conv2d.*, a convolution: at the end there can be a dense layer", KERAS),
    Row("a softmax in the middle", taken(layers(flat, units(16), lambda kinds: kinds.Softmax(), units(4))),
        r"layer 'softmax.* stands before .*: it can stand at the end only", KERAS),
    Row("an activation that looks at its neighbours",
        taken(layers(flat, units(16, activation=neighbours), units(4))), r"dense.* is no function of each number", KERAS),
    Row("a sign with a gap around 0", taken(lambda: stacks.dense(16, 5, activation=gapped)),
        r"is no sign: of -0.01, .* it makes 0", KERAS),
    Row("a model that computes in bfloat16", taken(half), r"it computes in bfloat16, .* let it compute in float32", KERAS),
    Row("bytes as they are", taken(bytewise, (0, 255)), silent, KERAS),
    Row("bytes, and pixels from 0 to 1", taken(bytewise, (0, 1)), r"takes uint8: `pixels` must be whole numbers", KERAS),
    Row("a layer used twice", taken(twice), r"layer '.* computes otherwise than its kind", KERAS),
    Row("a pool that rounds up", taken(layers(filters(4), pool(padding="same"), sign, flat, units(4), shape=(9, 9, 1))),
        r"MaxPooling2D\) rounds up", KERAS),
    Row("a pool of an odd map", compared(layers(filters(4), norm(), sign, pool(), flat, units(4), shape=(9, 9, 1))), same, KERAS),
    Row("a softmax over images", taken(lambda: chain(("Sign",), inputs=31, hidden=23)().add("Softmax", axis=0)),
        r"Softmax.* must find the largest along the classes", ONNX),
]  # fmt: skip

ROWS = SIGNS + FRESH + SIZES + DIFFERENCES
