"""Images and labels for a network: shapes, ranges, bytes, and that they stay."""

from __future__ import annotations

import re

import numpy as np
import pytest

from bnnedge import Dataset, Dense, Network
from bnnedge.data import DataError, DataWarning
from bnnedge.data.scale import Scale
from bnnedge.samples import Unchanged, digest, images_for, samples_for, training_samples

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


@pytest.mark.parametrize(
    ("wanted", "found", "hint"),
    [
        ((4, 4), (1, 4, 4), r": channels first\? leave the axis out: x\[:, 0\]$"),
        ((8, 8, 2), (2, 8, 8), r": channels first\? move them last: np.moveaxis\(x, 1, -1\)$"),
        ((4, 4), (4, 4, 1), r": give x\[..., 0\]$"),
        ((4, 4, 1), (4, 4), r": give x\[..., None\]$"),
        ((16,), (4, 4), r": give x.reshape\(len\(x\), -1\)$"),
        ((4, 4), (16,), r": give x.reshape\(-1, 4, 4\)$"),
        ((4, 4, 1), (16,), r": give x.reshape\(-1, 4, 4, 1\)$"),
        ((4, 4, 3), (48,), "$"),
        ((4, 4), (4, 5), "$"),
    ],
)
def test_shapes_are_told_what_would_fit(wanted, found, hint):
    network = Network(wanted, [Dense(5)])
    text = rf"^x holds images of shape .*, but network 'network' takes {re.escape(str(wanted))}{hint}"
    with pytest.raises(DataError, match=text):
        images_for(network, np.zeros((2, *found), np.uint8), "x")


@pytest.mark.parametrize(
    ("shape", "hint"),
    [((4, 3), r": one image alone is x\[None\]$"), ((4, 3, 9), r": give np.moveaxis\(x, -1, 0\), if the last axis counts")],
)
def test_where_the_images_are_counted(shape, hint):
    with pytest.raises(DataError, match=hint):
        images_for(NETWORK, np.zeros(shape, np.uint8), "x")


TRAINING = np.tile(np.arange(0, 252, 21, dtype=np.uint8).reshape(1, 4, 3), (10, 1, 1))
NUMBERS = np.arange(10) % 5


@pytest.mark.parametrize(
    "validation",
    [(TRAINING[:7], NUMBERS[:7]), [TRAINING[:7] / 255, NUMBERS[:7, None]], (TRAINING[:7].tolist(), NUMBERS[:7].tolist())],
)
def test_training_samples(validation):
    samples, held, scale = training_samples(NETWORK, TRAINING / 255, NUMBERS, validation)
    np.testing.assert_array_equal(samples.images, TRAINING)
    np.testing.assert_array_equal(samples.labels, NUMBERS)
    np.testing.assert_array_equal(held.images, TRAINING[:7])
    np.testing.assert_array_equal(held.labels, NUMBERS[:7])
    assert scale == Scale.of(TRAINING)
    assert training_samples(NETWORK, TRAINING, NUMBERS)[1] is None


def test_a_data_set_to_validate_on():
    data = Dataset("own", TRAINING, NUMBERS, TRAINING[:3] // 2, NUMBERS[:3])
    _, held, _ = training_samples(NETWORK, TRAINING, NUMBERS, data)
    np.testing.assert_array_equal(held.images, TRAINING[:3] // 2)


@pytest.mark.parametrize(
    ("validation", "text"),
    [
        (TRAINING, r"^validation_data must be \(x, y\) or a Dataset, not ndarray$"),
        ((TRAINING, NUMBERS, NUMBERS), r"^validation_data has three parts, but samples have no weights here: give \(x, y\)$"),
        ((TRAINING,), r"^validation_data must be \(x, y\) or a Dataset, not 1 parts$"),
        ((TRAINING[:, :3], NUMBERS), r"^validation x holds images of shape \(3, 3\)"),
        ((TRAINING, NUMBERS + 1), "^validation y holds the label 5; the 5 classes are"),
        ((TRAINING // 16, NUMBERS), r"^x lies in 0..231 \(uint8\), validation x in 0..14 \(uint8\): bring both to one scale"),
    ],
)
def test_validation_data_that_cannot_be_used(validation, text):
    with pytest.raises(DataError, match=text):
        training_samples(NETWORK, TRAINING, NUMBERS, validation)


def test_what_may_be_wrong_is_noted():
    with pytest.warns(DataWarning, match="^y has no image of class 0 of the 5 to train on: do the labels begin at 1"):
        training_samples(NETWORK, TRAINING, NUMBERS % 4 + 1)
    with pytest.warns(DataWarning, match=r"^x lies in 0..0.054902 \(float64\), the training images in 0..231 of 255: give"):
        images_for(NETWORK, TRAINING // 16 / 255, "x", Scale.of(TRAINING))


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
