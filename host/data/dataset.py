"""A labelled set of images, checked."""

import dataclasses

import numpy as np

from bnnedge.data.arrays import DataError
from bnnedge.data.images import check_images, in_unit, note_mixed, quantise, refuse_dim
from bnnedge.data.labels import check_classes, check_labels
from bnnedge.data.scale import Scale, compare, ranged
from bnnedge.keywords import explained_class
from bnnedge.settings import whole


@explained_class
@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
    """Training and test images with their labels.

    Parameters
    ----------
    name: what to call it in reports
    x_train, x_test: images (N, ...), all of one shape and of one scale, channels last. Integers in 0..255 are taken as they
        are. Floats must be in [0, 1], or in [0, 255] if any value exceeds 1; they are brought to 0..255 and rounded to the
        nearest integer, halves to the even one. Booleans become 0 and 255. x_train must reach 128 then: dimmer images train
        badly.
    y_train, y_test: labels (N,) or (N, 1), whole numbers 0..classes-1
    classes: their number, at least 2; one more than the largest training label if left out

    Members
    -------
    As the parameters, with images as uint8 and labels as int64.

    Raises
    ------
    DataError: anything else, such as an empty set, arrays whose lengths or ranges differ, NaN, or a label outside the classes
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
        ranges = ranged(x_train), ranged(x_test)
        unit = in_unit(x_train)
        # Of a blank test set the range does not tell.
        if _kind(x_train) != _kind(x_test) or (unit != in_unit(x_test) and x_test.max() > 0):
            raise DataError(f"x_train lies in {ranges[0]}, x_test in {ranges[1]}: bring both to one type and scale")
        refuse_dim("x_train", x_train, unit)
        for name, images in (("x_train", x_train), ("x_test", x_test)):
            if images.dtype.kind == "f" and not unit:
                note_mixed(name, images)
        y_train = check_labels("y_train", self.y_train, len(x_train))
        y_test = check_labels("y_test", self.y_test, len(x_test))
        classes = whole(self.classes)
        if classes is None:
            raise DataError(f"classes must be a whole number, not {self.classes!r:.80}")
        classes = classes or int(y_train.max()) + 1
        if classes < 2:
            raise DataError(f"A data set needs at least 2 classes, not {classes}")
        check_classes("y_train", y_train, classes)
        check_classes("y_test", y_test, classes)
        x_train, x_test = quantise(x_train, unit), quantise(x_test, unit)
        compare(Scale.of(x_train), Scale.of(x_test), ("x_train", "x_test"), ranges)
        checked = {"x_train": x_train, "y_train": y_train, "x_test": x_test, "y_test": y_test, "classes": classes}
        for field, value in checked.items():
            object.__setattr__(self, field, value)


def _kind(images: np.ndarray) -> str:
    return "integers" if images.dtype.kind in "iu" else images.dtype.kind
