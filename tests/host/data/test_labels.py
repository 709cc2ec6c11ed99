"""Labels: which shapes and types are taken, and what is said of the others."""

import warnings

import numpy as np
import pytest

from bnnedge.data import DataError, DataWarning
from bnnedge.data.labels import check_classes, check_labels, note_unused

Y = np.array([0, 2, 1, 1, 0])


@pytest.mark.parametrize(
    "given",
    [Y, Y[:, None], Y.tolist(), Y.astype(float), Y.astype(">i2"), Y.astype(np.uint8), Y.astype(object), np.tile(Y, 2)[:5]],
)
def test_taken(given):
    labels = check_labels("y", given, 5)
    assert labels.dtype == np.int64
    np.testing.assert_array_equal(labels, Y)


def test_truth_is_a_class():
    assert check_labels("y", Y > 0, 5).tolist() == [0, 1, 1, 1, 0]


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (np.eye(3)[Y], r"^y must have shape \(N,\), one .* not \(5, 3\): of one-hot labels give y.argmax\(1\)$"),
        (Y[None], r"^y must have shape \(N,\), .* not \(1, 5\): give y.ravel\(\)$"),
        (np.zeros((5, 4, 4)), r"not \(5, 4, 4\): are these images\? They come first, and their labels behind them$"),
        (Y[:0], "^y has 0 labels for 5 images$"),
        (np.array(["cat", "dog", "cat", "dog", "dog"]), "^y must be integers, not text such as 'cat': classes, y = numpy.unique"),
        (np.array(["cat", "dog", "cat", "dog", "dog"], object), "^y must be integers, not text such as 'cat': classes, y ="),
        (Y.astype(str), r"^y must be integers, not text such as '0': y.astype\(int\) gives them$"),
        (Y.astype("S1"), "^y must be integers, not text such as b'0': classes, y ="),
        (Y / 2, "^y must be integers, not float64 such as 0.5: classes are numbered$"),
        ([0, 1, np.nan, 1, 0], "^y holds NaN or infinite values: leave out"),
        ([0, 1, None, 1, 0], "^y holds Python objects"),
        (Y.astype(complex), "^y must be integers, not complex128$"),
        (Y.astype("datetime64[D]"), "^y must be integers, not datetime64"),
        (Y - 1, "^y holds the negative label -1: class numbers begin at 0$"),
        ([-1, 1, 1, -1, 1], r"^y holds the negative label -1: for labels -1 and 1 give \(y \+ 1\) // 2$"),
        (Y * 1e12, r"^y holds the label 2000000000000.0; class numbers must be less than 2\*\*31$"),
    ],
)
def test_refused(given, text):
    with pytest.raises(DataError, match=text):
        check_labels("y", given, 5)


def test_labels_from_1_are_told():
    check_classes("y", Y, 3)
    with pytest.raises(DataError, match=r"^y holds the label 3; the 3 classes are 0..2. Do they begin at 1\? Then subtract 1$"):
        check_classes("y", Y + 1, 3)
    with pytest.raises(DataError, match=r"^y holds the label 3; the 3 classes are 0..2$"):
        check_classes("y", np.array([0, 3]), 3)


@pytest.mark.parametrize(
    ("labels", "classes", "text"),
    [
        (Y + 1, 4, r"^y has no image of class 0 of the 4 to train on: do the labels begin at 1\? Then subtract 1$"),
        (Y, 5, r"^y has no image of classes 3, 4 of the 5 to train on$"),
        (Y * 10, 21, r"^y has no image of classes 1, 2, 3, 4, 5, 6, 7, 8 and 10 more of the 21 to train on$"),
    ],
)
def test_classes_without_images_are_noted(labels, classes, text):
    with pytest.warns(DataWarning, match=text):
        note_unused("y", labels, classes)


def test_whole_classes_are_not():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        note_unused("y", Y, 3)
