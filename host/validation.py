"""Images that a run is evaluated on after each epoch: given, or held out of the training images."""

from __future__ import annotations

from typing import Any

import numpy as np

from bnnedge.data.arrays import DataError, plain


def held_out(x: Any, y: Any, given: Any, split: float) -> tuple[Any, Any, Any]:
    """Images and labels to train on, and what to validate on.

    given: the `validation_data` of `fit`. split: instead: the part, 0..1, of x and y, at their end, to hold out as in Keras;
        0 for none.
    """
    if isinstance(split, bool) or not isinstance(split, (int, float, np.number)) or not 0 <= split < 1:
        raise ValueError(f"validation_split must be a number in 0..1, below 1, not {split!r:.80}")
    if given is not None:
        if split:
            raise ValueError("give validation_data or validation_split, not both")
        return x, y, given
    if not split:
        return x, y, None
    images, labels = plain("x", x), plain("y", y)
    if images.shape[:1] != labels.shape[:1]:
        return x, y, None  # which the checks of samples refuse
    kept = len(images) - int(len(images) * split)
    if kept == len(images):
        raise DataError(f"validation_split of {split:g} holds out none of {len(images)} images: give more, or a larger part")
    classes = len(set(labels.ravel().tolist()))
    if 1 < classes < len(labels) / 4 and np.count_nonzero(labels[1:] != labels[:-1]) == classes - 1:
        raise DataError("validation_split: labels are sorted by class, so that the last ones are of few: shuffle x and y before")
    strange = sorted(set(labels[kept:].ravel().tolist()) - set(labels[:kept].ravel().tolist()))
    if strange:
        raise DataError(
            f"validation_split holds out the last {len(images) - kept} images, and none of the others has the label "
            f"{strange[0]!r}: shuffle x and y before, or give validation_data"
        )
    return images[:kept], labels[:kept], (images[kept:], labels[kept:])
