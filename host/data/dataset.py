"""A labelled set of images, checked."""

import dataclasses

import numpy as np

_LABEL_LIMIT = 1 << 31
_AT_ONCE = 1024  # images


class DataError(ValueError):
    """Data that cannot be used; the text says which and why."""


def check_images(what: str, images: np.ndarray) -> np.ndarray:
    """Check images of any accepted dtype, without changing them; DataError otherwise."""
    images = np.asarray(images)
    if images.ndim < 2:
        raise DataError(f"{what} must have shape (N, ...) with one or more axes per image, not {images.shape}")
    if images.size == 0:
        raise DataError(f"{what} is empty: its shape is {images.shape}")
    if not np.issubdtype(images.dtype, np.integer) and not np.issubdtype(images.dtype, np.floating):
        raise DataError(f"{what} must be integers in 0..255 or floats in [0, 1] or [0, 255], not {images.dtype}")
    low, high = images.min(), images.max()
    if not np.isfinite(low) or not np.isfinite(high):
        raise DataError(f"{what} holds NaN or infinite values")
    if low < 0 or high > 255:
        raise DataError(f"{what} must lie in 0..255 (or, floats, in [0, 1]), not {low}..{high}")
    return images


def quantise(images: np.ndarray, scale: int) -> np.ndarray:
    """Checked images as uint8 0..255; floats are multiplied by `scale` first."""
    if np.issubdtype(images.dtype, np.integer):
        return images.astype(np.uint8, copy=False)
    made = np.empty(images.shape, np.uint8)
    for i in range(0, len(images), _AT_ONCE):  # beside large images there need be no room for the same once more
        made[i : i + _AT_ONCE] = np.rint(images[i : i + _AT_ONCE] * scale)
    return made


def check_training_images(what: str, images: np.ndarray, scale: int) -> None:
    """DataError if checked images are too dim to train on: `quantise` with `scale` would leave the top bit unused."""
    if np.issubdtype(images.dtype, np.integer):
        kind, scale = "integers", 1
    else:
        kind = "floats"
    if scale == 1 and images.max() < 128:
        raise DataError(
            f"{what} holds {kind} up to {images.max():g} only, and the first layer learns from the upper bits of a "
            "pixel in 0..255: scale them to 0..255, or give floats in [0, 1]"
        )


def check_labels(what: str, labels: np.ndarray, count: int) -> np.ndarray:
    """Check labels of `count` images; return them as int64. DataError otherwise."""
    labels = np.asarray(labels)
    if labels.ndim != 1:
        raise DataError(f"{what} must have shape (N,), one class number an image, not {labels.shape}")
    if len(labels) != count:
        raise DataError(f"{what} has {len(labels)} labels for {count} images")
    if not np.issubdtype(labels.dtype, np.integer):
        raise DataError(f"{what} must be integers, not {labels.dtype}")
    if labels.min() < 0:
        raise DataError(f"{what} holds the negative label {labels.min()}")
    # Before the conversion, in which uint64 could wrap around.
    if int(labels.max()) >= _LABEL_LIMIT:
        raise DataError(f"{what} holds the label {labels.max()}; class numbers must be less than 2**31")
    return labels.astype(np.int64)


def check_classes(what: str, labels: np.ndarray, classes: int) -> None:
    """DataError if a checked label is not one of `classes`."""
    if labels.max() >= classes:
        raise DataError(f"{what} holds the label {labels.max()}; the {classes} classes are 0..{classes - 1}")


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
    """Training and test images with their labels.

    Parameters
    ----------
    name: what to call it in reports
    x_train, x_test: images (N, ...), all of one shape. Integers in 0..255 are taken as they are. Floats must be in
        [0, 1], or in [0, 255] if any value of either array exceeds 1; they are brought to 0..255 and rounded to the
        nearest integer, halves to the even one. x_train must reach 128 then: dimmer images train badly.
    y_train, y_test: labels (N,), integers 0..classes-1
    classes: their number, at least 2; one more than the largest training label if left out

    Members
    -------
    As the parameters, with images as uint8 and labels as int64.

    Raises
    ------
    DataError: anything else, such as an empty set, arrays whose lengths differ, NaN, or a label outside the classes
    """

    name: str
    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    classes: int = 0

    def __post_init__(self) -> None:
        x_train, x_test = check_images("x_train", self.x_train), check_images("x_test", self.x_test)
        if x_train.shape[1:] != x_test.shape[1:]:
            raise DataError(f"x_train holds images of shape {x_train.shape[1:]}, x_test of {x_test.shape[1:]}")
        if np.issubdtype(x_train.dtype, np.integer) != np.issubdtype(x_test.dtype, np.integer):
            raise DataError(f"x_train is {x_train.dtype} and x_test is {x_test.dtype}: their scales may differ")
        # One scale for both: a dim test set must not be taken for one in [0, 1].
        scale = 255 if max(x_train.max(), x_test.max()) <= 1 else 1
        check_training_images("x_train", x_train, scale)
        y_train = check_labels("y_train", self.y_train, len(x_train))
        y_test = check_labels("y_test", self.y_test, len(x_test))
        classes = self.classes or int(y_train.max()) + 1
        if classes < 2:
            raise DataError(f"A data set needs at least 2 classes, not {classes}")
        check_classes("y_train", y_train, classes)
        check_classes("y_test", y_test, classes)
        checked = {
            "x_train": quantise(x_train, scale),
            "y_train": y_train,
            "x_test": quantise(x_test, scale),
            "y_test": y_test,
            "classes": classes,
        }
        for field, value in checked.items():
            object.__setattr__(self, field, value)
