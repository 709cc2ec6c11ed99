"""Images held against others: when their scales differ, when it may be chance, and what a checkpoint keeps."""

import numpy as np
import pytest

from bnnedge.data import DataError, DataWarning
from bnnedge.data.scale import Scale, compare, note_other

RANDOM = np.random.RandomState(5)


def images(count, low, high):
    """Random images whose pixels reach both limits."""
    made = RANDOM.randint(low, high + 1, (count, 6)).astype(np.uint8)
    made[:, :2] = low, high
    return made


def test_of_images():
    found = Scale.of(np.concatenate([images(10, 0, 9), images(90, 20, 219)]))
    assert found == Scale(100, 0, 219, (0, 9, 9, 199))
    assert Scale.of(images(2000, 5, 105)).spans == (100, 100, 100, 100)


@pytest.mark.parametrize(
    ("count", "high", "part"),
    [(64, 16, 16 / 255), (64, 63, 63 / 255), (64, 100, 100 / 255), (64, 127, 127 / 255), (64, 128, 1), (64, 0, 0), (1, 16, 1)],
)
def test_part_of_the_range(count, high, part):
    assert Scale.of(images(900, 0, 255)).part(Scale.of(images(count, 0, high))) == part


def test_what_training_images_span_as_well_is_no_sign():
    """Of these, a tenth are dark: two dark images are no sign, twenty are."""
    wide = Scale.of(np.concatenate([images(90, 0, 16), images(910, 0, 255)]))
    assert wide.part(Scale.of(images(2, 0, 16))) == 1
    assert wide.part(Scale.of(images(20, 0, 16))) == 16 / 255
    most = Scale.of(np.concatenate([images(600, 0, 16), images(400, 0, 255)]))
    assert most.part(Scale.of(images(2000, 0, 16))) == 1


def test_both_ways():
    wide, narrow = Scale.of(images(64, 0, 255)), Scale.of(images(64, 150, 180))
    for one, other in ((wide, narrow), (narrow, wide)):
        with pytest.raises(DataError, match=r"^a lies in 1, b in 2: bring both to one scale, with the same divisor$"):
            compare(one, other, ("a", "b"), ("1", "2"))
    compare(wide, wide, ("a", "b"), ("1", "2"))


@pytest.mark.parametrize(("trained", "given"), [((0, 255), (9, 40)), ((140, 200), (0, 255))])
def test_images_of_another_scale_than_the_training_images(trained, given):
    text = r"^x lies in 1, the training images in \d+..\d+ of 255: give images of the scale of these$"
    with pytest.warns(DataWarning, match=text):
        note_other(Scale.of(images(900, *trained)), images(20, *given), "x", "1")


def test_round_trip():
    found = Scale.of(images(64, 3, 200))
    assert Scale.from_dict(found.to_dict()) == found


@pytest.mark.parametrize(
    "data",
    [
        None,
        {},
        {"images": 1, "low": 0, "high": 255},
        {"images": 1, "low": 0, "high": 255, "spans": 3},
        {"images": 1, "low": 0, "high": 255, "spans": [0, 0, 0]},
        {"images": 1, "low": 0, "high": 256, "spans": [0, 0, 0, 0]},
        {"images": 1.5, "low": 0, "high": 255, "spans": [0, 0, 0, 0]},
        {"images": -5000, "low": 0, "high": 255, "spans": [0, 0, 0, 0]},
        {"images": 0, "low": 0, "high": 255, "spans": [0, 0, 0, 0]},
        {"images": 1, "low": True, "high": 255, "spans": [0, 0, 0, 0]},
    ],
)
def test_anything_else_is_refused(data):
    with pytest.raises(ValueError, match="the scale of the training images"):
        Scale.from_dict(data)
