"""Images and labels for a network: shapes, ranges, bytes, and that they stay."""

from __future__ import annotations

import numpy as np
import pytest

from bnnedge import Dense, Network
from bnnedge.data import DataError
from bnnedge.samples import Unchanged, digest, images_for, samples_for

NETWORK = Network((4, 3), [Dense(5)], "small")


def test_bytes_come_as_they_are_in_a_view_of_their_own():
    x = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    images = images_for(NETWORK, x, "x")
    assert images is not x
    assert np.shares_memory(images, x)
    np.testing.assert_array_equal(images, x)


def test_floats_become_bytes():
    x = np.array([0, 0.5, 1]).repeat(4).reshape(1, 3, 4).transpose(0, 2, 1)
    images = images_for(NETWORK, x, "x")
    assert images.dtype == np.uint8
    assert images.flags.c_contiguous
    assert sorted(set(images.ravel().tolist())) == [0, 128, 255]


@pytest.mark.parametrize(
    ("x", "text"),
    [
        (np.zeros((2, 3, 4), np.uint8), r"pixels holds images of shape \(3, 4\), but network 'small' takes \(4, 3\)"),
        (np.full((2, 4, 3), 1.5), "pixels holds floats up to 1.5: scale to"),
        (np.full((2, 4, 3), 256), "pixels"),
    ],
)
def test_other_shapes_and_ranges_are_refused(x, text):
    with pytest.raises(DataError, match=text):
        images_for(NETWORK, x, "pixels")


@pytest.mark.parametrize("labels", [[0, 5], [-1, 0], [0], [0.5, 1]])
def test_labels_that_are_no_classes_are_refused(labels):
    with pytest.raises(DataError, match="y"):
        samples_for(NETWORK, np.zeros((2, 4, 3), np.uint8), np.array(labels))


def test_a_change_is_noticed_after_the_first_epoch_and_when_asked():
    images, labels = samples_for(NETWORK, np.zeros((2, 4, 3), np.uint8), np.array([0, 4]))
    watch = Unchanged(images, labels, digest(images, labels))
    watch.on_epoch_end(0, {})
    watch.check()
    labels[1] = 3
    with pytest.raises(DataError, match="x was changed while fit ran"):
        watch.check()
    with pytest.raises(DataError, match="x was changed"):
        Unchanged(images, labels, digest(images, labels) ^ 1).on_epoch_end(0, {})
