"""Training of the reference networks on a data set."""

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from bnnedge.data.augment import Augment, Epochs
from bnnedge.network import Geometry
from bnnedge.sim.arrays import NUMPY, Library
from bnnedge.sim.reference.ablation import Ablation
from bnnedge.sim.reference.course import Course, History, Watch
from bnnedge.sim.reference.method import Method
from bnnedge.sim.reference.network import Network
from bnnedge.sim.reference.optimisers import OptimiserName
from bnnedge.sim.reference.standard import Standard


def scale_pixels(images: np.ndarray, dtype: Any = np.float32) -> np.ndarray:
    """Pixels 0..255 (uint8) of images (N, ...) as 2p/255 - 1, in [-1, 1], of the same shape."""
    return images.astype(dtype) * (2 / 255) - 1


def cosine_rate(rate: float, step: int, steps: int) -> float:
    """Learning rate of step 0..steps-1: half a cosine, from `rate` down towards 0."""
    return rate * 0.5 * (1 + math.cos(math.pi * step / steps))


def variation(seed: int, epoch: int) -> np.random.RandomState:
    """What decides how an epoch's images vary: of its seed and number alone, so that a training that goes on sees the same."""
    return np.random.RandomState(np.random.MT19937(np.random.SeedSequence(seed, spawn_key=(epoch,))))


def _accuracy(network: Network[Any], images: np.ndarray, labels: np.ndarray, batch: int = 100) -> float:
    hits = 0
    for start in range(0, len(images), batch):
        part = slice(start, start + batch)
        hits += np.count_nonzero(network.classify(scale_pixels(images[part], network.dtype)) == labels[part])
    return hits / len(images)


def _check(name: str, images: np.ndarray, labels: np.ndarray, network: Network[Any]) -> None:
    first, classes = network.layers[0].geometry, network.layers[-1].geometry.filters
    inputs = first.height * first.width * first.channels
    if images.dtype != np.uint8:
        raise ValueError(f"{name} images must be uint8, not {images.dtype}")
    if not len(images) or len(images) != len(labels):
        raise ValueError(
            f"{name} set must have one label for each image and not be empty: it has {len(images)} images "
            f"and {len(labels)} labels"
        )
    pixels = math.prod(images.shape[1:])
    if pixels != inputs:
        raise ValueError(f"{name} images have {pixels} pixels, but the network has {inputs} inputs")
    if labels.min() < 0 or labels.max() >= classes:
        raise ValueError(f"{name} labels must lie in 0..{classes - 1}, not {labels.min()}..{labels.max()}")


def fit(
    network: Network[Any],
    x_train: np.ndarray,
    y_train: np.ndarray,
    x_test: np.ndarray,
    y_test: np.ndarray,
    *,
    batch: int,
    epochs: int,
    rate: float,
    seed: int,
    augment: Augment | None = None,
    watch: Watch | None = None,
    resume: Mapping[str, np.ndarray] | None = None,
) -> History:
    """Train `network` with a learning rate that falls from `rate` to 0 on half a cosine over all steps.

    Parameters
    ----------
    x_train, x_test: images (N, ...), uint8
    y_train, y_test: labels (N,), integers 0..classes-1
    batch: images a step, 2..N; an epoch leaves out the N mod batch images that its shuffle puts last
    seed: of the shuffling, and of how the images vary
    augment: how the training images vary from epoch to epoch; None if they don't
    watch: called after each step and each epoch; the `Course` that it gets can be kept at any of them.
    resume: `Course.state` of a training with the same arguments, to go on from, bit for bit, with `network` as it began

    Raises
    ------
    ValueError: the data do not fit the network, a setting is out of range, or `resume` is of another training
    """
    _check("Training", x_train, y_train, network)
    _check("Test", x_test, y_test, network)
    if not 2 <= batch <= len(x_train):
        raise ValueError(f"Batch must lie in 2..{len(x_train)}, the number of training images, not {batch}")
    if epochs < 1:
        raise ValueError(f"Epochs must be a positive integer, not {epochs}")
    if not rate > 0:
        raise ValueError(f"Learning rate must be positive, not {rate}")
    rng, batches = np.random.default_rng(seed), len(x_train) // batch
    course, shown = Course(network, epochs, batches), Epochs(x_train, augment)
    if resume is not None:
        try:
            course.restore(resume)
        except KeyError as error:
            raise ValueError(f"there is no {error} in what is to be resumed") from None
    for _ in range(course.epoch):  # the same draws as before
        rng.permutation(len(x_train))
    while course.epoch < epochs:
        order, images = rng.permutation(len(x_train)), shown.show(course.epoch, variation(seed, course.epoch))
        while course.steps < batches:
            chosen = order[course.steps * batch : (course.steps + 1) * batch]
            loss, right = network.train_batch(
                scale_pixels(images[chosen], network.dtype),
                y_train[chosen],
                cosine_rate(rate, course.epoch * batches + course.steps, epochs * batches),
            )
            course.took(loss, right)
            if watch is not None:
                watch(course)
        course.closed(batch, _accuracy(network, x_test, y_test))
        if watch is not None:
            watch(course)
    return course.history


def train(
    kind: Literal["standard", "method", "ablation"],
    geometry: Sequence[Geometry],
    x_train: np.ndarray,
    y_train: np.ndarray,
    x_test: np.ndarray,
    y_test: np.ndarray,
    *,
    batch: int = 100,
    epochs: int,
    rate: float = 1e-3,
    seed: int = 0,
    optimiser: OptimiserName = "adam",
    steps: Collection[str] = (),
    library: Library = NUMPY,
    augment: Augment | None = None,
    watch: Watch | None = None,
    resume: Mapping[str, np.ndarray] | None = None,
) -> History:
    """Build a network of layers of that `geometry` and `fit` it; `seed` gives its weights, the shuffling and how images vary.

    steps: of an ablation, see `Ablation`; library: computes, see `Network`; the others as `fit` has them. Raises ValueError for
    an unknown kind, and as `fit` does.
    """
    network: Network[Any]
    if kind == "ablation":
        network = Ablation(geometry, steps=steps, optimiser=optimiser, seed=seed, library=library)
    elif kind in ("standard", "method"):
        network = (Standard if kind == "standard" else Method)(geometry, optimiser=optimiser, seed=seed, library=library)
    else:
        raise ValueError(f"Kind must be 'standard', 'method' or 'ablation', not {kind!r}")
    # Weights and shuffling must not draw the same stream.
    return fit(
        network,
        x_train,
        y_train,
        x_test,
        y_test,
        batch=batch,
        epochs=epochs,
        rate=rate,
        seed=seed + 2**32,
        augment=augment,
        watch=watch,
        resume=resume,
    )
