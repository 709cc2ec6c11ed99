"""Memory that training a network takes, after the model of Wang et al. (arXiv 2102.04270)."""

from collections.abc import Sequence
from typing import Literal, get_args

from bnnedge.network import Geometry
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
    "pool masks": (32, 1),
    "masks": (0, 1),
}

# Numbers that an optimiser keeps for each weight.
_MOMENTS: dict[OptimiserName, int] = {"adam": 2, "sign-momentum": 1, "sign-sgd": 0, "bop": 1, "sign-bop": 1}


def footprint(
    geometry: Sequence[Geometry],
    batch: int,
    optimiser: OptimiserName,
    scheme: Literal["standard", "method"],
    *,
    masks: bool = False,
) -> dict[str, int]:
    """Bytes by kind of number; their sum is the footprint.

    activations: X at the input of every layer and at the network's output, kept from the forward to the backward pass
    products: one buffer, as large as the largest of these layers' tensors, for Y forward and dX backward
    product gradients: another such buffer for dY
    statistics: mean, spread, beta and its gradient, per channel
    weights, weight gradients: one each per weight
    moments: of the optimiser, per weight: two with Adam, one with a momentum or Bop, none with sign-SGD
    pool masks: where the maxima of pools stand, per input of a pool
    masks: where |X| <= 1, per hidden activation. The published model leaves them out, though the method cannot train
        without them; counted only if `masks`. In the standard scheme they follow from the activations.

    Raises ValueError for a batch that is not positive, an unknown optimiser or scheme.
    """
    if batch < 1:
        raise ValueError(f"Batch must be a positive integer, not {batch!r}")
    if optimiser not in get_args(OptimiserName):
        raise ValueError(f"Optimiser must be one of {', '.join(get_args(OptimiserName))}, not {optimiser!r}")
    if scheme not in ("standard", "method"):
        raise ValueError(f"Scheme must be 'standard' or 'method', not {scheme!r}")
    inputs = [layer.height * layer.width * layer.channels for layer in geometry]
    outputs = [layer.outputs * layer.filters for layer in geometry]
    weights = sum(layer.fan_in * layer.fan_out for layer in geometry)
    largest = max(*inputs, *outputs)
    counts = {
        "activations": batch * (sum(inputs) + outputs[-1]),
        "products": batch * largest,
        "product gradients": batch * largest,
        "statistics": 4 * sum(layer.filters for layer in geometry),
        "weights": weights,
        "weight gradients": weights,
        "moments": weights * _MOMENTS[optimiser],
        "pool masks": batch * sum(n for n, layer in zip(outputs, geometry, strict=True) if layer.pool != "none"),
    }
    if masks:
        counts["masks"] = batch * sum(inputs[1:])
    column = 0 if scheme == "standard" else 1
    return {kind: -(-count * _BITS[kind][column] // 8) for kind, count in counts.items()}
