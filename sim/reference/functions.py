"""The functions that both reference networks are made of, and their derivatives.

Shapes: B samples (of a convolution all places of all images), M channels. A batch norm has an offset beta and no gain;
its statistics are taken per channel, over the samples. Every function keeps the floating-point dtype of its arguments,
and their library and device.
"""

from typing import Any

from bnnedge.sim.arrays import Array, array_namespace, library_of

# Below the variance of any live channel of +1/-1 sums; keeps a constant channel finite.
VARIANCE_FLOOR = 1e-5

# A constant channel has psi = 0. Sums of +1/-1 move in steps of 2, so that one sample apart in a batch of B makes psi
# about 4/B: the floor lies below that for batches up to 400, yet bounds what a constant channel sends down by 1/psi.
DEVIATION_FLOOR = 1e-2


def signs(bits: Array, dtype: Any) -> Array:
    """+1 where a bit is set, else -1: of the shape of `bits`, and of a floating-point dtype of their library."""
    return array_namespace(bits).astype(bits, dtype) * 2 - 1


def sgn(values: Array) -> Array:
    """+1 where `values` >= 0, else -1: zero counts as positive, as it does in the hardware."""
    return signs(values >= 0, values.dtype)


def hard_tanh(values: Array) -> Array:
    """The nearest number in [-1, 1] to each of `values`."""
    library = library_of(values)
    one = library.xp.ones((), dtype=values.dtype, device=library.device)
    return library.xp.minimum(library.xp.maximum(values, -one), one)  # with NumPy far faster than the standard's clip


def l2_spread(centred: Array) -> Array:
    """Standard deviation sqrt(mean(c^2) + floor) of `centred` values c = y - mean(y): (B, M) -> (M,)."""
    xp = array_namespace(centred)
    return xp.sqrt(xp.mean(centred * centred, axis=0) + VARIANCE_FLOOR)


def l1_spread(centred: Array) -> Array:
    """Mean absolute deviation max(mean|c|, floor) of `centred` values c = y - mean(y): (B, M) -> (M,)."""
    xp = array_namespace(centred)
    return xp.clip(xp.mean(xp.abs(centred), axis=0), DEVIATION_FLOOR, None)


def batch_norm_backward(gradient: Array, output: Array, spread: Array) -> Array:
    """Gradient at the input y of a batch norm x = (y - mean)/spread: v - mean(v) - x mean(v x), v = gradient/spread.

    Parameters
    ----------
    gradient: (B, M), the gradient of the loss at the output
    output: (B, M), what stands for x. With the normalised output (no beta) of the L2 form this is the exact derivative;
        with x^ = sgn(x) it is the method's approximation of the L1 form, for which one bit per activation is enough:
        mean|x| = 1, so that x^ has the right scale.
    spread: (M,)
    """
    xp = array_namespace(gradient)
    v = gradient / spread
    return v - xp.mean(v, axis=0) - output * xp.mean(v * output, axis=0)


def l1_batch_norm_backward(gradient: Array, output: Array, spread: Array) -> Array:
    """The exact derivative of the L1 form: v - mean(v) - (s - mean(s)) mean(v x), v = gradient/spread, s = sgn(x).

    gradient, output: (B, M), the loss's gradient at x, and x itself, without beta. spread: (M,), above its floor.
    """
    xp = array_namespace(gradient)
    v, s = gradient / spread, sgn(output)
    return v - xp.mean(v, axis=0) - (s - xp.mean(s, axis=0)) * xp.mean(v * output, axis=0)


def softmax_cross_entropy(logits: Array, labels: Array) -> tuple[float, int, Array]:
    """Mean loss -log softmax(logits)[label] over the batch, the images classified rightly, and the loss's gradient.

    Parameters
    ----------
    logits: (B, M)
    labels: (B,) integers 0..M-1, of the same library

    Returns
    -------
    loss, hits, gradient (B, M) = (softmax(logits) - onehot(labels))/B
    """
    library = library_of(logits)
    xp = library.xp
    onehot = xp.astype(labels[:, None] == xp.arange(logits.shape[1], device=library.device), logits.dtype)
    shifted = logits - xp.max(logits, axis=1, keepdims=True)  # exp cannot overflow
    exponential = xp.exp(shifted)
    total = xp.sum(exponential, axis=1)
    loss = xp.mean(xp.log(total) - xp.sum(shifted * onehot, axis=1))
    hits = xp.sum(xp.astype(xp.argmax(logits, axis=1) == labels, xp.int64))
    return float(loss), int(hits), (exponential / total[:, None] - onehot) / labels.shape[0]
