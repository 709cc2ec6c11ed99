"""The golden model as a device: the accelerator's arithmetic in arrays, bit for bit, without a clock."""

from __future__ import annotations

import numpy as np

from bnnedge.compiler import memory_of
from bnnedge.compiler.layout import layout
from bnnedge.configuration import Configuration
from bnnedge.devices.device import Memory, StepResult, check_order, check_rate, check_samples
from bnnedge.devices.tenancy import SharedDevice, exclusive
from bnnedge.network import Network
from bnnedge.settings import Settings
from bnnedge.sim.arrays import NUMPY, Library, to_numpy
from bnnedge.sim.golden import Golden
from bnnedge.sim.golden.random import Random
from bnnedge.state import TrainingState

# What `probe` returns of a hidden layer, beside its codes: of one with outputs pooled the route too.
_HELD, _ROUTE = ("active", "mask"), ("route",)


class GoldenDevice(SharedDevice):
    """`Device` over `bnnedge.sim.golden.Golden`.

    Parameters
    ----------
    configuration: the accelerator to imitate, its limits included. Its lanes and latent bits enter the results.

    library: that computes; see `bnnedge.sim.arrays.library`. The results don't depend on it. On a processor NumPy takes PyTorch's
        place, for which there are faster ways (`bnnedge.sim.golden.ways`), some of them PyTorch's own.
    random: what is drawn for rounding; anything but the default is an ablation, and not what the accelerator does.

    A probe also returns, of layers with outputs pooled, the places 0..3 of the maxima ("1.route").
    """

    name = "golden"

    def __init__(self, configuration: Configuration, library: Library = NUMPY, random: type[Random] = Random) -> None:
        super().__init__()
        self.configuration, self.random = configuration, random
        self.library = NUMPY if library.on_processor() else library
        self._golden: Golden | None = None

    @exclusive
    def prepare(self, network: Network, settings: Settings) -> None:
        self.prepared = self.holds = self._golden = None
        layout(network, settings, self.configuration)  # refuses what the accelerator can't hold
        self.prepared = network, settings

    @exclusive
    def load_state(self, state: TrainingState) -> None:
        network, settings = self._ready()
        state.check(network, self.configuration)
        there = state.copy().mapped(self.library.put)
        self._golden = Golden(network, settings, self.configuration, there, random=self.random)
        self.holds = object()

    @exclusive
    def state(self) -> TrainingState:
        return self._model().state.mapped(to_numpy).copy()

    @exclusive
    def train(self, images: np.ndarray, labels: np.ndarray, order: np.ndarray, rate: int) -> list[StepResult]:
        golden, batch = self._model(), self._ready()[1].batch
        check_rate(rate, golden.network, self.configuration.latent)
        check_samples(images, golden.network, labels)
        count, steps = check_order(order, batch, images, golden.state.step), []
        with self._running(changes=True), self.library.exact():
            for i in range(count):
                chosen = order[i * batch : (i + 1) * batch]
                result = golden.train(images[chosen], labels[chosen], int(rate))
                steps.append(StepResult(result.loss, result.hits))
        return steps

    @exclusive
    def probe(
        self, images: np.ndarray, labels: np.ndarray, order: np.ndarray, rate: int
    ) -> tuple[StepResult, dict[str, np.ndarray]]:
        golden, (network, settings) = self._model(), self._ready()
        if len(order) != settings.batch:
            raise ValueError(f"a probe takes one batch of {settings.batch} images, not {len(order)}")
        golden.keep = True
        try:
            (result,) = self.train(images, labels, order, rate)
            names = [f"{i + 1}.code" for i in range(len(network.geometry))]
            for i, layer in enumerate(network.geometry[:-1]):
                names += [f"{i + 1}.{what}" for what in (*_HELD, *(() if layer.pool == "none" else _ROUTE))]
            held = ((name, to_numpy(golden.trace[name])) for name in names)
            # The golden model has no height and width of dense layers.
            return result, {name: value if value.ndim == 4 else value[:, None, None] for name, value in held}
        finally:
            golden.keep, golden.trace = False, {}

    @exclusive
    def infer(self, images: np.ndarray) -> np.ndarray:
        golden = self._model()
        check_samples(images, golden.network)
        with self.library.exact():
            return to_numpy(golden.infer(images)).astype(np.int16)

    @exclusive
    def counters(self) -> dict[str, int]:
        return {}

    @exclusive
    def memory(self) -> Memory:
        """Bytes that the imitated accelerator takes."""
        return memory_of(*self._ready(), self.configuration)

    def _release(self) -> None:
        self._golden = None

    def _model(self) -> Golden:
        self._loaded()
        assert self._golden is not None
        return self._golden
