"""Memory that training a dense network takes, after the model of Wang et al. (arXiv 2102.04270)."""
import itertools
from collections.abc import Sequence
from typing import Literal, get_args

from bnnedge.sim.reference.optimisers import OptimiserName

# Bits of a number: (standard, method).
_BITS = {
    "activations": (32, 1),
    "products": (32, 16),
    "product gradients": (32, 16),
    "statistics": (32, 16),
    "weights": (32, 16),
    "weight gradients": (32, 1),
    "moments": (32, 16),
    "masks": (0, 1),
}


def footprint(sizes: Sequence[int], batch: int, optimiser: OptimiserName, scheme: Literal["standard", "method"], *,
              masks: bool = False) -> dict[str, int]:
    """Bytes by kind of number; their sum is the footprint.

    activations: X at the input of every layer and at the network's output, kept from the forward to the backward pass
    products: one buffer, as large as the largest of these layers' tensors, for Y forward and dX backward
    product gradients: another such buffer for dY
    statistics: mean, spread, beta and its gradient, per channel
    weights, weight gradients: one each per weight
    moments: of the optimiser, per weight: two with Adam, one with a momentum
    masks: where |X| <= 1, per hidden activation. The published model leaves them out, though the method cannot train
        without them; counted only if `masks`. In the standard scheme they follow from the activations.

    Raises ValueError for sizes or a batch that are not positive, an unknown optimiser or scheme.
    """
    if len(sizes) < 2 or min(*sizes, batch) < 1:
        raise ValueError(f"Sizes (two or more) and batch must be positive integers, not {list(sizes)!r} and {batch!r}")
    if optimiser not in get_args(OptimiserName):
        raise ValueError(f"Optimiser must be 'adam' or 'sign-momentum', not {optimiser!r}")
    if scheme not in ("standard", "method"):
        raise ValueError(f"Scheme must be 'standard' or 'method', not {scheme!r}")
    weights = sum(k * m for k, m in itertools.pairwise(sizes))
    counts = {
        "activations": batch * sum(sizes),
        "products": batch * max(sizes),
        "product gradients": batch * max(sizes),
        "statistics": 4 * sum(sizes[1:]),
        "weights": weights,
        "weight gradients": weights,
        "moments": weights * (2 if optimiser == "adam" else 1),
    }
    if masks:
        counts["masks"] = batch * sum(sizes[1:-1])
    column = 0 if scheme == "standard" else 1
    return {kind: -(-count * _BITS[kind][column] // 8) for kind, count in counts.items()}
