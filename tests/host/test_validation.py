"""What a run is evaluated on, held out of the training images."""

import numpy as np
import pytest

from bnnedge import DataError, Dense, Network, Settings, Trainer

NETWORK = Network((4, 4), [Dense(16), Dense(4)])
RANDOM = np.random.RandomState(1)
X, Y = RANDOM.randint(0, 256, (200, 4, 4)).astype(np.uint8), np.arange(200) % 4


@pytest.fixture
def trainer():
    return Trainer(NETWORK, settings=Settings(batch=64))


@pytest.mark.parametrize(("split", "kept"), [(0.2, 160), (0.25, 150), (np.float32(0.5), 100), (0.01, 198)])
def test_split(trainer, split, kept):
    other = Trainer(NETWORK, settings=Settings(batch=64))
    assert trainer.fit(X, Y, epochs=2, validation_split=split) == other.fit(
        X[:kept], Y[:kept], epochs=2, validation_data=(X[kept:], Y[kept:])
    )
    assert trainer.fit(X, Y, epochs=3, validation_split=split, resume=True).epoch == [0, 1, 2]
    with pytest.raises(ValueError, match="and the same validation_split"):
        trainer.fit(X, Y, epochs=4, resume=True)


def test_lists(trainer):
    trainer.fit(X.tolist(), Y.tolist(), validation_split=0.2)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"validation_split": 1}, r"validation_split must be a number in 0\.\.1, below 1, not 1"),
        ({"validation_split": -0.1}, "validation_split must be"),
        ({"validation_split": True}, "validation_split must be"),
        ({"validation_split": "0.2"}, "validation_split must be"),
        ({"validation_split": 0.001}, "validation_split of 0.001 holds out none of 200 images"),
        ({"validation_split": 0.9}, "x has 20 images, less than a batch of 64"),
        ({"validation_split": 0.2, "validation_data": (X, Y)}, "give validation_data or validation_split, not both"),
    ],
)
def test_is_refused(trainer, arguments, text):
    with pytest.raises(ValueError, match=text):
        trainer.fit(X, Y, **arguments)
    assert trainer.plan is None


def test_sorted_labels(trainer):
    for labels in (np.sort(Y), np.sort(Y)[::-1], np.array([2, 0, 3, 1]).repeat(50), np.arange(200) // 199):
        with pytest.raises(DataError, match="labels are sorted by class, so that the last ones are of few: shuffle x and y"):
            trainer.fit(X, labels, validation_split=0.2)


def test_a_class_that_is_not_trained(trainer):
    with pytest.raises(DataError, match="holds out the last 40 images, and none of the others has the label 3: shuffle x and"):
        trainer.fit(X, np.where(np.arange(200) < 170, Y % 3, 3), validation_split=0.2)


def test_other_lengths(trainer):
    with pytest.raises(DataError, match="y has 199 labels for 200 images"):
        trainer.fit(X, Y[1:], validation_split=0.2)
