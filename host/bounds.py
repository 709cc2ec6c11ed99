"""How large the numbers of a layer can become: what the compiler proves, and what a training state may hold, follow from it.

The equations are those of docs/arithmetic.md; D stands for the largest |sum| of a layer's channel.
"""

from __future__ import annotations

from bnnedge import formats
from bnnedge.configuration import Configuration
from bnnedge.formats import Code
from bnnedge.layers import Geometry
from bnnedge.settings import Settings


def forward_sum(layer: Geometry, number: int, input_planes: int) -> int:
    """Largest |y| of layer `number` (from 0): its inputs are +-1, those of the first layer pixels of so many planes."""
    return layer.fan_in * (2**input_planes - 1 if number == 0 else 1)


def data_gradient(above: Geometry, code: Code) -> int:
    """Largest |d| below a layer: codes of all outputs that one input reaches."""
    return above.reach * code.largest


def weight_product(number: int, code: Code, slope_planes: int) -> int:
    """Largest product that a sample adds to a weight gradient of layer `number`: a code times +-1, or times a pixel."""
    return code.largest * (2**slope_planes - 1 if number == 0 else 1)


def weight_gradient(layer: Geometry, number: int, code: Code, settings: Settings) -> int:
    """Largest |weight gradient| of layer `number` over a batch."""
    return settings.batch * layer.outputs * weight_product(number, code, settings.slope_planes)


def mean_sum(layer: Geometry, number: int, config: Configuration) -> int:
    """Largest |moving_mu| of a layer, STATISTICS fraction bits: a mean of its sums, with any number of planes, and roundings.

    D is at most `Configuration.largest_sum`. A mean's reciprocal may be too large by 2**-17 of it, and a mean is rounded
    down: so 64 (D + D / 2**17 + 1), and the pivot stays within `accumulator` bits.
    """
    largest = min(forward_sum(layer, number, formats.MAX_PLANES), config.largest_sum)
    return (largest + (largest >> formats.MEAN + 1) + 1) << formats.STATISTICS


def deviation(layer: Geometry, number: int, settings: Settings, config: Configuration) -> int:
    """Largest |y - pivot| of layer `number`."""
    pivot = mean_sum(layer, number, config) + (1 << formats.STATISTICS - 1) >> formats.STATISTICS
    return forward_sum(layer, number, settings.input_planes) + pivot
