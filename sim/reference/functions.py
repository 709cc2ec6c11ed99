"""The functions that both reference networks are made of, and their derivatives.

Shapes: B samples (of a convolution all places of all images), M channels. A batch norm has an offset beta and no gain;
its statistics are taken per channel, over the samples. Every function keeps the floating-point dtype of its arguments.
"""

import numpy as np

# Below the variance of any live channel of +1/-1 sums; keeps a constant channel finite.
VARIANCE_FLOOR = 1e-5

# A constant channel has psi = 0. Sums of +1/-1 move in steps of 2, so that one sample apart in a batch of B makes psi
# about 4/B: the floor lies below that for batches up to 400, yet bounds what a constant channel sends down by 1/psi.
DEVIATION_FLOOR = 1e-2


def sgn(values: np.ndarray) -> np.ndarray:
    """+1 where `values` >= 0, else -1: zero counts as positive, as it does in the hardware."""
    one = values.dtype.type(1)
    return np.where(values >= 0, one, -one)


def l2_spread(centred: np.ndarray) -> np.ndarray:
    """Standard deviation sqrt(mean(c^2) + floor) of `centred` values c = y - mean(y): (B, M) -> (M,)."""
    return np.sqrt(np.mean(centred * centred, axis=0) + VARIANCE_FLOOR, dtype=centred.dtype)


def l1_spread(centred: np.ndarray) -> np.ndarray:
    """Mean absolute deviation max(mean|c|, floor) of `centred` values c = y - mean(y): (B, M) -> (M,)."""
    return np.maximum(np.mean(np.abs(centred), axis=0), centred.dtype.type(DEVIATION_FLOOR))


def batch_norm_backward(gradient: np.ndarray, output: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """Gradient at the input y of a batch norm x = (y - mean)/spread: v - mean(v) - x mean(v x), v = gradient/spread.

    Parameters
    ----------
    gradient: (B, M), the gradient of the loss at the output
    output: (B, M), what stands for x. With the normalised output (no beta) of the L2 form this is the exact derivative;
        with x^ = sgn(x) it is the method's approximation of the L1 form, for which one bit per activation is enough:
        mean|x| = 1, so that x^ has the right scale.
    spread: (M,)
    """
    v = gradient / spread
    return v - v.mean(axis=0) - output * (v * output).mean(axis=0)


def l1_batch_norm_backward(gradient: np.ndarray, output: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """The exact derivative of the L1 form: v - mean(v) - (s - mean(s)) mean(v x), v = gradient/spread, s = sgn(x).

    gradient, output: (B, M), the loss's gradient at x, and x itself, without beta. spread: (M,), above its floor.
    """
    v = gradient / spread
    signs = sgn(output)
    return v - v.mean(axis=0) - (signs - signs.mean(axis=0)) * (v * output).mean(axis=0)


def softmax_cross_entropy(logits: np.ndarray, labels: np.ndarray) -> tuple[float, int, np.ndarray]:
    """Mean loss -log softmax(logits)[label] over the batch, the images classified rightly, and the loss's gradient.

    Parameters
    ----------
    logits: (B, M)
    labels: (B,) integers 0..M-1

    Returns
    -------
    loss, hits, gradient (B, M) = (softmax(logits) - onehot(labels))/B
    """
    samples = np.arange(len(labels))
    shifted = logits - logits.max(axis=1, keepdims=True)  # exp cannot overflow
    exponential = np.exp(shifted)
    total = exponential.sum(axis=1)
    loss = float(np.mean(np.log(total) - shifted[samples, labels]))
    gradient = exponential / total[:, None]
    gradient[samples, labels] -= 1
    gradient /= len(labels)
    return loss, int(np.count_nonzero(logits.argmax(axis=1) == labels)), gradient
