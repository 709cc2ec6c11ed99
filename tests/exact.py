"""Steps of a device and of the golden model side by side."""

from __future__ import annotations

import dataclasses

import numpy as np

from bnnedge import Dense, Network, Settings
from bnnedge.devices.accelerator import AcceleratorDevice
from bnnedge.sim.golden import Golden
from bnnedge.state import TrainingState

RATE = 400


@dataclasses.dataclass
class Pair:
    """A prepared device and the golden model, in the same state, with random data."""

    device: AcceleratorDevice
    golden: Golden
    images: np.ndarray
    labels: np.ndarray
    random: np.random.RandomState

    @classmethod
    def of(
        cls,
        device: AcceleratorDevice,
        network: Network | list[int],
        settings: Settings,
        *,
        images: int = 200,
        seed: int = 0,
    ) -> Pair:
        """Prepare both for a network, or for a dense one of these sizes."""
        if isinstance(network, list):
            network = Network((network[0],), [Dense(n) for n in network[1:]])
        config = device.configuration
        state = TrainingState.initial(network, config.latent, settings.gradient_planes, seed)
        device.prepare(network, settings)
        device.load_state(state)
        random = np.random.RandomState(seed)
        pixels = random.randint(0, 256, (images, *network.input_shape)).astype(np.uint8)
        labels = random.randint(0, network.classes, images).astype(np.int64)
        return cls(device, Golden(network, settings, config, state.copy(), keep=True), pixels, labels, random)

    def order(self, steps: int) -> np.ndarray:
        """Indices of that many batches, images drawn with repetition."""
        return self.random.randint(0, len(self.images), steps * self.golden.settings.batch)

    def assert_same_state(self) -> None:
        """Weights, moments, betas, statistics, exponents, step."""
        assert self.device.state().differences(self.golden.state) == []

    def train(self, steps: int, order: np.ndarray | None = None) -> list[int]:
        """Steps in one run of the device; returns the cycles of each step behind the first."""
        order = self.order(steps) if order is None else order
        batch = self.golden.settings.batch
        results = self.device.train(self.images, self.labels, order, RATE)
        assert len(results) == steps
        for n, result in enumerate(results):
            chosen = order[n * batch : (n + 1) * batch]
            expected = self.golden.train(self.images[chosen], self.labels[chosen], RATE)
            assert (result.loss, result.hits) == (expected.loss, expected.hits), f"step {n + 1}"
        self.assert_same_state()
        cycles = [result.cycles for result in results]
        return [b - a for a, b in zip(cycles, cycles[1:], strict=False)]

    def probe(self) -> None:
        """One step, comparing every tensor that the chip held, in both orientations."""
        order = self.order(1)
        result, tensors = self.device.probe(self.images, self.labels, order, RATE)
        expected = self.golden.train(self.images[order], self.labels[order], RATE)
        for name, values in tensors.items():
            expected_values = self.golden.trace[name.removesuffix("_columns")].reshape(values.shape)
            np.testing.assert_array_equal(values, expected_values, err_msg=name)
        assert (result.loss, result.hits) == (expected.loss, expected.hits)
        expected_names = set()
        for i, g in enumerate(self.golden.network.geometry):
            kinds = {"code_columns"} | ({"code"} if i else set())
            if i < len(self.golden.network.geometry) - 1:
                kinds |= {"active", "mask", "active_columns"} | (set() if g.pool == "none" else {"route"})
            expected_names |= {f"{i + 1}.{kind}" for kind in kinds}
        assert expected_names == set(tensors)
        self.assert_same_state()

    def infer(self) -> None:
        """Logits of all images."""
        np.testing.assert_array_equal(self.device.infer(self.images), self.golden.infer(self.images))
