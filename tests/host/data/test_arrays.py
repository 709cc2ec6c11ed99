"""What people bring as arrays: what is taken, and what is refused with which words."""

import numpy as np
import pytest

from bnnedge.data import DataError, DataWarning
from bnnedge.data.arrays import note, plain

X = np.arange(12).reshape(3, 4)


class Tensor:
    """What NumPy reads by `__array__` alone, as it does pandas and PyTorch."""

    def __init__(self, values):
        self.values = values

    def __array__(self, dtype=None, copy=None):
        if isinstance(self.values, Exception):
            raise self.values
        return np.asarray(self.values, dtype)


@pytest.mark.parametrize(
    "given",
    [
        X.tolist(),
        tuple(X),
        Tensor(X),
        [Tensor(row) for row in X],
        X.astype(object),
        np.array([*X, None], object)[:3],
        np.ma.array(X, mask=False),
        np.asfortranarray(X),
        X.astype(">i2"),
        X.astype(float),
    ],
)
def test_taken(given):
    np.testing.assert_array_equal(plain("x", given), X)
    assert type(plain("x", given)) is np.ndarray


MASKED = np.ma.array(X, mask=X == 3)


class Loader:
    """Yields batches."""

    def __iter__(self):
        return iter([X])


class Sparse:
    """A matrix of SciPy."""

    def toarray(self):
        return X


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (MASKED, r"^x has masked values, and the mask would be lost: fill them, as numpy.ma.filled\(x, 0\) does"),
        ([MASKED[0], MASKED[1]], "^x has masked values"),
        (None, "^x must be an array, not NoneType$"),
        (3, "^x must be an array, not int$"),
        ("data.npz", "^x must be an array, not str$"),
        (Loader(), r"^x must be an array, not Loader: gather what it yields, with numpy.concatenate$"),
        ({"x": X}, "^x must be an array, not dict$"),
        ((row for row in X), "^x must be an array, not generator: gather"),
        (Sparse(), r"^x is a sparse matrix: give its toarray\(\)$"),
        (Tensor(TypeError("on a\ndevice: use .cpu()")), r"^x \(Tensor\) cannot be read as an array: on a device: use .cpu\(\)$"),
        ([np.zeros((2, 3)), np.zeros((4, 3))], r"^x holds arrays of shapes \(2, 3\), \(4, 3\): all must be of one$"),
        ([[1, 2], [3]], "^x .*"),
        (np.array([1, None, 3], object), "^x holds Python objects, such as None, not numbers of one kind: leave"),
        (np.zeros(3, [("a", int), ("b", float)]), r"^x has fields \(a, b\): give an array of numbers$"),
    ],
)
def test_refused(given, text):
    with pytest.raises(DataError, match=text) as caught:
        plain("x", given)
    assert "\n" not in str(caught.value)


def test_a_program_without_a_name_is_warned_too():
    """As one that `exec` runs."""
    with pytest.warns(DataWarning, match="odd"):
        exec("note('odd')", {"note": note})
