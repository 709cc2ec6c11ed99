"""How widely the latent weights are spread, epoch by epoch: J = std(W) sqrt(K) of each layer of K inputs.

The measure is that of "Edge of chaos as a guiding principle for modern neural network training" (arXiv 2107.09437), where it
says on which side of the edge of chaos a layer stands. A layer of signs has no such edge, as only the signs of its weights
count; here J tells how far weights have moved from where they were drawn, J = 1, and so how much a step still changes: a
weight near 0 turns with a step, one near 1 hardly.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from bnnedge import formats
from bnnedge.callbacks import Callback
from bnnedge.network import Network
from bnnedge.rates import scale
from bnnedge.state import TrainingState
from bnnedge.trainer import Trainer


def spread(state: TrainingState, latent: int) -> list[float]:
    """J of each layer, of weights whose latent ones have `latent` bits."""
    found = []
    for layer in state.layers:
        inputs = len(layer.weight)
        one = math.ldexp(1, latent - 1 + scale(inputs))
        found.append(float((layer.weight >> formats.MOMENT).std()) / one * math.sqrt(inputs))
    return found


def largest(network: Network) -> int:
    """Number, from 0, of the layer with the most weights: its J stands for the network where there is room for one."""
    return max(range(len(network.geometry)), key=lambda i: network.geometry[i].fan_in * network.geometry[i].fan_out)


class Spread(Callback):
    """Records J as a run goes on. The latent weights are on the host's side at the end of a call: the device isn't asked.

    history: a list of J, one for each layer, for each epoch.
    """

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer
        self.history: list[list[float]] = []

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float]) -> None:
        self.history.append(spread(self.trainer.state, self.trainer.device.configuration.latent))
