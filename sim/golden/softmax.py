"""The last layer: logits, base-2 softmax and loss from two tables, without a division per image."""

from __future__ import annotations

import numpy as np

from bnnedge import formats as f
from bnnedge.sim.arrays import Array, array_namespace, library_of

EXP2 = np.array(f.EXP2_TABLE, np.int64)
LOG2 = np.array(f.LOG2_TABLE, np.int64)


def logits(y: Array, mu: Array, psi: Array, beta: Array) -> tuple[Array, Array]:
    """z = (y - mu) / psi * log2(e), and z + beta * log2(e): (N, M) int64 with LOGIT fraction bits.

    y: (N, M) sums; mu, psi: (M,) with STATISTICS fraction bits; beta: (M,) of BETA_USED bits. int64 all.
    """
    xp = array_namespace(y)
    reciprocal = (f.LOG2_E << f.RECIPROCAL) // xp.clip(psi, 1 << f.STATISTICS, None)
    shift = f.RECIPROCAL + f.LOG2_E_FRACTION - f.LOGIT  # the fraction bits of y - mu and psi cancel
    limit = (1 << f.LOGIT_BITS - 1) - 1
    centred = (xp.astype(y, xp.int64) << f.STATISTICS) - mu
    z = xp.clip(centred * reciprocal + (1 << shift - 1) >> shift, -limit, limit)
    return z, z + (beta * f.LOG2_E >> f.BETA_FRACTION + f.LOG2_E_FRACTION - f.LOGIT)


def slope(gradient: Array, z: Array) -> Array:
    """Sum over the images of (N, M) gradients, of PROBABILITY bits, times X, which z (N, M) is in units of log2: (M,) int64."""
    total = array_namespace(z).sum(gradient * z, axis=0)
    return total * f.INVERSE_LOG2_E >> f.LOG2_E_FRACTION + f.LOGIT


def exp2(below: Array) -> Array:
    """2**-below with PROBABILITY fraction bits; below >= 0 with LOGIT fraction bits."""
    xp = array_namespace(below)
    return _looked_up(EXP2, below & (1 << f.LOGIT) - 1) >> xp.clip(below >> f.LOGIT, 0, 15)


def _looked_up(table: np.ndarray, places: Array) -> Array:
    library = library_of(places)
    found = library.xp.take(library.put(table), library.xp.reshape(places, (-1,)))
    return library.xp.reshape(found, places.shape)


def one_hot(labels: Array, classes: int) -> Array:
    """(N, classes) int64: 1 at each label (N,), else 0."""
    library = library_of(labels)
    return library.xp.astype(labels[:, None] == library.xp.arange(classes, device=library.device), library.xp.int64)


def softmax(z: Array, labels: Array) -> tuple[Array, int, int]:
    """Probabilities (N, M) int64 with PROBABILITY fraction bits, summed loss -log2 p with LOGIT fraction bits, hits."""
    library = library_of(z)
    xp = library.xp
    below = xp.max(z, axis=1, keepdims=True) - z
    total = xp.sum(exp2(below), axis=1, keepdims=True)
    # Floor of log2: the largest class alone gives 2**PROBABILITY, so never less than that, and each class at most as much.
    powers = 2 << xp.arange(f.PROBABILITY, f.PROBABILITY + z.shape[1].bit_length(), device=library.device)
    octave = xp.sum(xp.astype(total >= powers, xp.int64), axis=1, keepdims=True)
    fraction = (total >> octave + f.PROBABILITY - f.LOGIT) & (1 << f.LOGIT) - 1
    below = below + (octave << f.LOGIT) + _looked_up(LOG2, fraction)  # now -log2 p
    loss = xp.sum(below * one_hot(labels, z.shape[1]))
    return exp2(below), int(loss), int(xp.sum(xp.astype(xp.argmax(z, axis=1) == labels, xp.int64)))
