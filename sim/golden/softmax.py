"""The last layer: logits, base-2 softmax and loss from two tables, without a division per image."""

from __future__ import annotations

import numpy as np

from bnnedge import formats as f

EXP2 = np.array(f.EXP2_TABLE, np.int64)
LOG2 = np.array(f.LOG2_TABLE, np.int64)


def logits(y: np.ndarray, mu: np.ndarray, psi: np.ndarray, beta: np.ndarray, latent: int) -> tuple[np.ndarray, np.ndarray]:
    """z = (y - mu) / psi * log2(e), and z + beta * log2(e); (N, M) int64 with LOGIT fraction bits.

    y: (N, M) sums; mu, psi: (M,) with STATISTICS fraction bits; beta: (M,) with latent - 1 fraction bits.
    """
    reciprocal = (f.LOG2_E << f.RECIPROCAL) // np.maximum(psi, 1 << f.STATISTICS).astype(np.int64)
    shift = f.RECIPROCAL + f.LOG2_E_FRACTION - f.LOGIT  # the fraction bits of y - mu and psi cancel
    limit = (1 << f.LOGIT_BITS - 1) - 1
    centred = (y.astype(np.int64) << f.STATISTICS) - mu
    z = np.clip(centred * reciprocal + (1 << shift - 1) >> shift, -limit, limit)
    return z, z + (beta.astype(np.int64) * f.LOG2_E >> latent - 1 + f.LOG2_E_FRACTION - f.LOGIT)


def exp2(below: np.ndarray) -> np.ndarray:
    """2**-below with PROBABILITY fraction bits; below >= 0 with LOGIT fraction bits."""
    return EXP2[below & (1 << f.LOGIT) - 1] >> np.minimum(below >> f.LOGIT, 15)


def softmax(z: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, int, int]:
    """Probabilities (N, M) int64 with PROBABILITY fraction bits, summed loss -log2 p with LOGIT fraction bits, hits."""
    below = z.max(1, keepdims=True) - z
    total = exp2(below).sum(1, keepdims=True)
    octave = np.frexp(total)[1] - 1 - f.PROBABILITY  # the largest class alone gives 2**PROBABILITY: never negative
    fraction = (total >> octave + f.PROBABILITY - f.LOGIT) & (1 << f.LOGIT) - 1
    below = below + (octave << f.LOGIT) + LOG2[fraction]  # now -log2 p
    loss = below[np.arange(len(labels)), labels].sum()
    return exp2(below), int(loss), int((z.argmax(1) == labels).sum())
