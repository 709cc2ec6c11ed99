"""Cycles and bytes of a network without running it."""

from __future__ import annotations

import dataclasses

from bnnedge.configuration import Configuration
from bnnedge.network import Network
from bnnedge.settings import Settings


@dataclasses.dataclass(frozen=True)
class Estimate:
    cycles_per_image: float


def estimate(network: Network, settings: Settings, config: Configuration) -> Estimate:
    return Estimate(5000.0)
