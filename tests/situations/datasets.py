"""Data as people have it: shapes, scales, labels, files."""

from __future__ import annotations

import functools
import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bnnedge import Augment, Conv2D, Dataset, Dense, Network, Settings, Trainer, load
from bnnedge.data import DataWarning
from situations import Row, bnnedge, says, works

RANDOM = np.random.RandomState(1)
Y = np.arange(256) % 4
X = RANDOM.randint(0, 160, (256, 2, 3, 2, 3)).astype(np.uint8)
X[np.arange(256), Y // 2, :, Y % 2] += 95
X = X.reshape(256, 6, 6)  # a quadrant is bright
RGB = RANDOM.randint(0, 256, (64, 8, 8, 3)).astype(np.uint8)
FIRST = np.moveaxis(RGB, -1, 1)


def trainer(shape: Any = (6, 6), *layers: Any) -> Trainer:
    """Of a small network, on the golden device."""
    return Trainer(Network(shape, [*layers, Dense(16), Dense(4)]), "golden", settings=Settings(batch=64), rate=0.03)


def fit(x: Any, y: Any, **options: Any) -> Any:
    """One epoch of a small dense network on the golden device."""
    with trainer(np.shape(x)[1:]) as trained:
        return trained.fit(x, y, epochs=1, **options)


def tall(*shape: int) -> np.ndarray:
    """64 of this shape, which reach all of 0..255."""
    return np.random.RandomState(2).randint(0, 256, (64, *shape)).astype(np.uint8)


def dataset(x: Any = X, y: Any = Y, x_test: Any = X, y_test: Any = Y) -> Dataset:
    return Dataset("own", x, y, x_test, y_test)


def noted(act: Callable[[], Any]) -> list[str]:
    """What it warns of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        act()
    return [str(warning.message) for warning in caught if issubclass(warning.category, DataWarning)]


def after_fit(use: Callable[[Trainer], Any], x: Any = X) -> list[str]:
    """What is warned of once a network is trained on images x."""
    with trainer() as trained:
        trained.fit(x, Y, epochs=1)
        return noted(lambda: use(trained))


def after_load(folder: Path, use: Callable[[Trainer], Any]) -> list[str]:
    """The same by a checkpoint."""
    with trainer() as trained:
        trained.fit(X, Y, epochs=1)
        trained.save(folder / "own.npz")
    with Trainer.load(folder / "own.npz") as loaded:
        return noted(lambda: use(loaded))


def trained_by_command(folder: Path, *options: str, **arrays: Any) -> str:
    """What `bnnedge train` prints of a file of these arrays."""
    given = {"x_train": X, "y_train": Y, "x_test": X, "y_test": Y, **arrays}
    np.savez(folder / "own.npz", **given)
    return bnnedge("train", "--data", "own.npz", "--device", "golden", "--epochs", 1, "--batch", 64, *options)


def silent(found: list[str]) -> None:
    assert found == []


FLIPPED = "channels first\\? move them last: np.moveaxis"
SHAPES = [
    Row("channels first: Dataset", lambda folder: dataset(FIRST, Y[:64], FIRST, Y[:64]), FLIPPED),
    Row("channels first: fit", lambda folder: trainer((8, 8, 3)).fit(FIRST, Y[:64]), FLIPPED),
    Row("channels first: evaluate", lambda folder: trainer((8, 8, 3)).evaluate(FIRST, Y[:64]), FLIPPED),
    Row("channels first: predict", lambda folder: trainer((8, 8, 3)).predict(FIRST / 255), FLIPPED),
    Row(
        "channels first: to validate on",
        lambda folder: trainer((8, 8, 3)).fit(RGB, Y[:64], validation_data=(FIRST, Y[:64])),
        f"validation x .*{FLIPPED}",
    ),
    Row(
        "channels first: a file, by command, to be varied",
        lambda folder: trained_by_command(folder, "--augment", "shift,flip", x_train=X[:, None], x_test=X[:, None]),
        f"own.npz: .*{FLIPPED}",
    ),
    Row(
        "channels first: Augment by itself",
        lambda folder: Augment(flip=True).apply(FIRST, RANDOM, np.empty_like(FIRST)),
        "channels last, not .3, 8, 8.: channels first. move them last",
    ),
    Row("channels first: a network", lambda folder: Network((3, 32, 32), [Conv2D(8), Dense(4)]), "last: .32, 32, 3."),
    Row(
        "channels first: cnv by command",
        lambda folder: trained_by_command(folder, "--network", "cnv", x_train=np.zeros((64, 3, 32, 32), np.uint8)),
        FLIPPED,
    ),
    Row("channels first: four of them", lambda folder: fit(np.zeros((64, 4, 16, 12), np.uint8), Y[:64]), "channels first"),
    Row("signals of height 1: a network", lambda folder: Network((1, 128, 9), [Dense(8), Dense(4)]), works),
    Row("signals of height 3", lambda folder: fit(tall(3, 40, 8), Y[:64]), works),
    Row("signals of height 4, as many channels", lambda folder: dataset(tall(4, 8, 8), Y[:64]), r"height, exchange it .*np.swap"),
    Row("the same, turned", lambda folder: fit(np.swapaxes(tall(4, 8, 8), 1, 2), Y[:64]), works),
    Row("signals of height 4: a network", lambda folder: Network((4, 8, 8), [Dense(4)]), r"exchange it .*: \(8, 4, 8\)"),
    Row("signals of height 1, mirrored", lambda folder: fit(tall(1, 40, 9), Y[:64], augment=Augment(flip=True)), works),
    Row("channels first: two of them", lambda folder: Network((2, 32, 32), [Conv2D(8), Dense(4)]), "are the channels first"),
    Row("an image by itself", lambda folder: trainer((8, 8, 3)).predict(RGB[0]), r"one image alone is x\[None\]"),
    Row("images counted by the last axis", lambda folder: trainer().fit(np.moveaxis(X, 0, -1), Y), r"np.moveaxis\(x, -1, 0\)"),
    Row("one channel, where the network has none", lambda folder: trainer().fit(X[..., None], Y), r"give x\[..., 0\]"),
    Row("one channel in front, where the network has none", lambda folder: trainer().fit(X[:, None], Y), r"x\[:, 0\]"),
    Row("flat images for a network of two axes", lambda folder: trainer().fit(X.reshape(256, 36), Y), r"x.reshape\(-1, 6, 6\)"),
    Row("two channels, last", lambda folder: fit(X.reshape(256, 6, 3, 2), Y), works),
    Row("4 x 4 pixels of 8 channels", lambda folder: fit(np.tile(X[:, :4, :4, None], 8), Y), works),
]

SCALES = [
    Row("floats to 255 and to 1", lambda folder: dataset(X * 1.0, Y, X / X.max(), Y), r"0..254 \(.*0..1 \(.*bring both to one"),
    Row("floats to 1 and to 255", lambda folder: dataset(X / 255, Y, X * 1.0, Y), r"0..0.99.*0..254 \(.*bring both to one"),
    Row("bytes, and floats to 1", lambda folder: dataset(X, Y, X / 255, Y), r"uint8.*float64.*bring both to one"),
    Row("a test set in 0..16", lambda folder: dataset(X, Y, X // 16, Y), r"0..254 \(uint8\), x_test in 0..15 \(uint8\)"),
    Row("a test set divided twice", lambda folder: dataset(X / 255, Y, X / 255 / 255, Y), "bring both to one scale"),
    Row("a test set of bits", lambda folder: dataset(X, Y, (X > 127).astype(int), Y), r"x_test in 0..1 \(int64\)"),
    Row("floats made bytes: a black test set", lambda folder: dataset(X, Y, (X / 255).astype(np.uint8), Y), "bring both"),
    Row("a training set brought to 0.7..0.9", lambda folder: dataset(X / 1275 + 0.7, Y, X / 255, Y), "bring both to one"),
    Row(
        "a test set in percent",
        lambda folder: noted(lambda: dataset(X, Y, X.astype(int) * 100 // 255, Y)),
        says("x_test in 0..99"),
    ),
    Row("a darker test set", lambda folder: noted(lambda: dataset(X, Y, X // 2 + X // 8, Y)), silent),
    Row(
        "the darkest images as a test set",
        lambda folder: noted(lambda: dataset(X, Y, X[np.argsort(X.mean((1, 2)))[:8]], Y[:8])),
        silent,
    ),
    Row("a single dark image to test", lambda folder: noted(lambda: dataset(X, Y, X[:1] // 16, Y[:1])), silent),
    Row(
        "half of the images divided",
        lambda folder: noted(lambda: dataset(np.concatenate([X[::2] / 255, X[1::2] * 1.0]), Y, X * 1.0)),
        says("128 images up to 1 among others"),
    ),
    Row("validation divided once too often", lambda folder: fit(X / 255, Y, validation_data=(X / 255 / 255, Y)), "x lies in"),
    Row("bytes to train, floats to validate", lambda folder: fit(X, Y, validation_data=(X / 255, Y)), works),
    Row("validation in 0..16", lambda folder: fit(X, Y, validation_data=(X // 16, Y)), "validation x in 0..15"),
    Row("prediction in 0..16", lambda folder: after_fit(lambda t: t.predict(X // 16)), says("x lies in 0..15 (uint8), the tr")),
    Row("evaluation of floats divided twice", lambda folder: after_fit(lambda t: t.evaluate(X / 65025, Y)), says("0..254 of")),
    Row("prediction of bits", lambda folder: after_fit(lambda t: t.predict((X > 127).astype(int))), says("x lies in 0..1 (int")),
    Row("prediction in 0..16, of a checkpoint", lambda folder: after_load(folder, lambda t: t.predict(X // 16)), says("0..15")),
    Row("prediction in 0..255 after 150..200", lambda folder: after_fit(lambda t: t.predict(X), X // 5 + 150), says("150..200")),
    Row("prediction in bytes after floats", lambda folder: after_fit(lambda t: t.predict(X), X / 255), silent),
    Row("prediction of one image after another", lambda folder: after_fit(lambda t: [t.predict(x[None]) for x in X[:9]]), silent),
    Row("training images in 0..16", lambda folder: fit(X // 16, Y), r"integers up to 15 only.*x / 15"),
    Row("training images divided twice", lambda folder: fit(X / 65025, Y), r"floats up to 0.0039\d* only.*x / 0.0039"),
    Row("floats to 255", lambda folder: fit(X * 1.0, Y), r"floats up to 254: scale to \[0, 1\]"),
    Row("floats from -1 to 1", lambda folder: fit(X / 127.5 - 1, Y), r"not -1..0.99\d*: give \(x \+ 1\) / 2"),
    Row("floats of mean 0", lambda folder: fit((X - X.mean()) / X.std(), Y), r"\(x - lo\) / \(hi - lo\)"),
    Row("16 bits", lambda folder: fit(X.astype(np.uint16) * 257, Y), r"not 0..65278: give floats in \[0, 1\]"),
    Row("interpolated a bit beyond 1", lambda folder: fit(X / 250, Y), r"floats up to 1.016: give np.clip\(x, 0, 1\)"),
    Row("signed bytes", lambda folder: fit((X.astype(int) - 128).astype(np.int8), Y), "not -128..126"),
    Row("floats of 1.0000001", lambda folder: fit(X / np.float32(253.99998), Y), works),
    Row("half floats", lambda folder: fit((X / 255).astype(np.float16), Y), works),
    Row("bits", lambda folder: fit(X > 127, Y), works),
    Row("bits as bytes", lambda folder: fit((X > 127).astype(np.uint8), Y), "integers up to 1 only"),
    Row("NaN in an image", lambda folder: fit(np.where(X.max() == X, np.nan, X / 255), Y), "holds NaN or infinite"),
    Row("infinity in an image", lambda folder: fit(np.where(X.max() == X, np.inf, X / 255), Y), "holds NaN or infinite"),
]


class Tensor:
    """What NumPy reads by `__array__`."""

    def __init__(self, values: Any) -> None:
        self.values = values

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return np.asarray(self.values, dtype)

    shape = X.shape


def readonly(x: np.ndarray) -> np.ndarray:
    x = x.copy()
    x.flags.writeable = False
    return x


def series(y: Any) -> Any:
    import pandas

    return pandas.Series(y, index=np.arange(len(y))[::-1])


def frame(y: Any) -> Any:
    import pandas

    return pandas.DataFrame({"label": y})


LABELS = [
    Row("bytes and whole numbers", lambda folder: fit(X, Y), works),
    Row("labels that are words", lambda folder: fit(X, np.array(list("abcd"))[Y]), "y must be integers, not text .*unique"),
    Row("labels that are words, of pandas", lambda folder: fit(X, np.array(list("abcd"), object)[Y]), "not text such as 'a'"),
    Row("labels that are digits", lambda folder: fit(X, Y.astype(str)), r"y.astype\(int\)"),
    Row("labels of shape (N, 1)", lambda folder: fit(X, Y[:, None]), works),
    Row("labels of shape (N, 1): Dataset", lambda folder: dataset(X, Y[:, None], X, Y[:, None]), works),
    Row("labels of shape (N, 1): a file", lambda folder: trained_by_command(folder, y_train=Y[:, None]), says("test accuracy")),
    Row("labels of shape (1, N)", lambda folder: fit(X, Y[None]), r"not \(1, 256\): give y.ravel"),
    Row("one-hot labels", lambda folder: fit(X, np.eye(4)[Y]), r"of one-hot labels give y.argmax\(1\)"),
    Row("one-hot labels of labels (N, 1)", lambda folder: fit(X, np.eye(4)[Y[:, None]]), r"one-hot labels give y.argmax\(-1\)"),
    Row("labels of shape (N, 1, 1)", lambda folder: fit(X, Y[:, None, None]), r"give y.ravel\(\)"),
    Row(
        "a column of labels among the pixels",
        lambda folder: trainer().fit(np.c_[Y, X.reshape(256, 36)], Y),
        "is a column of labels among them",
    ),
    Row("images with an opacity", lambda folder: trainer((8, 8, 3)).fit(np.zeros((64, 8, 8, 4)), Y[:64]), r"x\[..., :3\]"),
    Row("a Dataset of two pairs", lambda folder: Dataset("own", (X, Y), (X, Y)), "Dataset needs x_test and y_test: Dataset.name"),
    Row("one-hot labels: evaluate", lambda folder: trainer().evaluate(X, np.eye(4)[Y]), r"y.argmax\(1\)"),
    Row("one-hot labels: Dataset", lambda folder: dataset(X, np.eye(4)[Y]), r"y_train must .*y.argmax\(1\)"),
    Row("whole numbers as floats", lambda folder: fit(X, Y * 1.0), works),
    Row("floats", lambda folder: fit(X, Y / 2), "y must be integers, not float64 such as 0.5"),
    Row("labels that are missing", lambda folder: fit(X, np.where(Y == 3, np.nan, Y)), "y holds NaN"),
    Row("truth as labels", lambda folder: noted(lambda: fit(X, Y > 1)), says("y has no image of classes 2, 3 of the 4")),
    Row("labels from 1", lambda folder: noted(lambda: fit(X, Y % 3 + 1)), says("no image of class 0", "Then subtract 1")),
    Row("labels from 1, one too many", lambda folder: fit(X, Y + 1), r"label 4; the 4 .* Do they begin at 1\?"),
    Row(
        "labels from 1: Dataset, by command",
        lambda folder: trained_by_command(folder, y_train=Y + 1, y_test=Y + 1),
        says("note: y has no image of class 0 of the 5 to train on: do the labels begin at 1? Then subtract 1"),
    ),
    Row("a class that is missing", lambda folder: noted(lambda: fit(X, np.where(Y == 2, 0, Y))), says("no image of class 2 of")),
    Row("labels of -1 and 1", lambda folder: fit(X, Y % 2 * 2 - 1), r"give \(y \+ 1\) // 2"),
    Row("a test label that was never trained", lambda folder: dataset(X, Y % 3, X, Y), "y_test holds the label 3; the 3 classes"),
    Row("labels for fewer images", lambda folder: fit(X, Y[:-1]), "y has 255 labels for 256 images"),
    Row("no labels", lambda folder: fit(X, []), "y has 0 labels for 256 images"),
    Row("no images", lambda folder: fit(X[:0], Y[:0]), "x is empty"),
    Row("the order of scikit-learn's train_test_split", lambda folder: dataset(X, X, Y, Y), "labels come behind their images"),
]

ARRAYS = [
    Row("lists", lambda folder: fit(X.tolist(), Y.tolist()), works),
    Row("tensors", lambda folder: fit(Tensor(X), Tensor(Y)), works),
    Row("arrays of objects that are numbers", lambda folder: fit(X.astype(object), Y.astype(object)), works),
    Row("arrays of objects that are not", lambda folder: fit(X, np.array([*Y[:-1], None])), "y holds Python .* None"),
    Row("a masked array", lambda folder: fit(np.ma.array(X, mask=X == 0), Y), "x has masked values.*filled"),
    Row("masked labels", lambda folder: fit(X, np.ma.array(Y, mask=Y == 0)), "y has masked values"),
    Row("a masked array: Dataset", lambda folder: dataset(np.ma.array(X, mask=X == 0)), "x_train has masked values"),
    Row("a mask that hides nothing", lambda folder: fit(np.ma.array(X), np.ma.array(Y)), works),
    Row("read-only arrays", lambda folder: fit(readonly(X), readonly(Y)), works),
    Row("every second pixel, from right to left", lambda folder: fit(X[:, ::2, ::-2], Y), works),
    Row("columns in front", lambda folder: fit(np.asfortranarray(X), Y), works),
    Row("big-endian numbers", lambda folder: fit((X / 255).astype(">f4"), Y.astype(">i8")), works),
    Row(
        "images of two sizes, some to hold out",
        lambda folder: trainer().fit([X[0], X[1, 1:]], Y[:2], validation_split=0.5),
        r"shapes \(6, 6\), \(5, 6\): all must",
    ),
    Row("masked labels, some to hold out", lambda folder: fit(X, np.ma.array(Y, mask=Y == 0), validation_split=0.2), "masked"),
    Row("lists, some to hold out", lambda folder: fit(X.tolist(), Y.tolist(), validation_split=0.2), works),
    Row("images of two sizes", lambda folder: trainer().fit([X[0], X[1, 1:]], Y[:2]), r"shapes \(6, 6\), \(5, 6\): all must"),
    Row("labels of pandas", lambda folder: fit(X, series(Y)), works, ("pandas",)),
    Row("a column of pandas", lambda folder: fit(X, frame(Y)), works, ("pandas",)),
    Row("validation with weights", lambda folder: fit(X, Y, validation_data=(X, Y, Y)), r"weights here: give \(x, y\)"),
    Row("a Dataset to validate on", lambda folder: fit(X, Y, validation_data=dataset()), works),
    Row("images alone to validate on", lambda folder: fit(X, Y, validation_data=X), r"\(x, y\) or a Dataset, not ndarray"),
    Row("a Dataset to predict", lambda folder: trainer().predict(dataset()), "x is a data set: give its arrays"),
    Row("a file's name to predict", lambda folder: trainer().predict("own.npz"), "x must be an array, not str"),
]


def saved(path: Path, **arrays: Any) -> Any:
    """What comes of a file of these arrays."""
    np.savez(path, **arrays)
    return load(path)


def pictures(folder: Path) -> Path:
    """A folder of pictures, a class a folder."""
    for name in ("cats", "dogs"):
        (folder / "pictures" / name).mkdir(parents=True)
        (folder / "pictures" / name / "1.png").write_bytes(b"\x89PNG")
    return folder / "pictures"


def cifar_anew(folder: Path, protocol: int) -> Dataset:
    """CIFAR-10's Python version, a few images, written anew by Python 3."""
    for name in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"):
        data = RANDOM.randint(0, 256, (4, 3072)).astype(np.uint8)
        content = {b"data": data, b"labels": [0, 1, 2, 3], b"filenames": [b"a.png"] * 4, b"batch_label": b"one"}
        (folder / name).write_bytes(pickle.dumps(content, protocol))
    return load(folder)


RECIPE = r"np.savez\('mine.npz', x_train=..., y_train=..., x_test=..., y_test=...\)"
FOUR = {"x_train": X, "y_train": Y, "x_test": X, "y_test": Y}
FILES = [
    Row("Keras's mnist.npz", lambda folder: saved(folder / "mnist.npz", **FOUR), works),
    Row("an .npz of arrays without names", lambda folder: saved(folder / "own.npz", arr_0=X, arr_1=Y), f"arr_1; .*{RECIPE}"),
    Row("an .npz of MedMNIST", lambda folder: saved(folder / "own.npz", train_images=X, train_labels=Y[:, None]), RECIPE),
    Row("an .npz without labels", lambda folder: saved(folder / "own.npz", x_train=X, x_test=X), "no y_train, y_test; it"),
    Row("an .npz of words", lambda folder: saved(folder / "own.npz", **FOUR | {"y_test": Y.astype(str)}), "y_test is of type <U"),
    Row("an .npz of objects", lambda folder: saved(folder / "own.npz", **FOUR | {"y_train": Y.astype(object)}), "never loaded"),
    Row(
        "an .npz of truth, half floats and big-endian labels",
        lambda folder: saved(
            folder / "own.npz", x_train=X > 127, x_test=X > 127, y_train=Y.astype(">i8"), y_test=Y.astype(np.float16)
        ),
        works,
    ),
    Row("an .npz of two scales, by command", lambda folder: trained_by_command(folder, x_test=X // 16), "own.npz: x_train lies"),
    Row("an .npz that is none", lambda folder: load(Path("own.npz").write_text("x") and "own.npz"), "own.npz: cannot be read"),
    Row(
        "an .npz that is cut off",
        lambda folder: (
            np.savez("own.npz", x_train=X),
            Path("own.npz").write_bytes(Path("own.npz").read_bytes()[:500]),
            load("own.npz"),
        ),
        "cannot be read: .*; is it whole[?] If so, bring its arrays",
    ),
    Row("an .npz that is not there", lambda folder: bnnedge("train", "--data", "own.npz"), "own.npz: cannot be read: .*No such"),
    Row("an .npy", lambda folder: load(np.save("own.npy", X) or "own.npy"), f"own.npy: not .*{RECIPE}"),
    Row("a .csv", lambda folder: load(np.savetxt("own.csv", Y) or "own.csv"), f"own.csv: not .*{RECIPE}"),
    Row("a folder of pictures", lambda folder: load(pictures(folder)), f"pictures: holds neither .*{RECIPE}"),
    Row("a set's name with a dash", lambda folder: load("cifar-10"), "did you mean 'cifar10'"),
    *(
        Row(f"CIFAR-10's pickles of protocol {protocol}", functools.partial(cifar_anew, protocol=protocol), works)
        for protocol in range(6)
    ),
]

ROWS = [*SHAPES, *SCALES, *LABELS, *ARRAYS, *FILES]
