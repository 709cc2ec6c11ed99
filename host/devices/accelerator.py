"""Drives an accelerator through its registers and memory: the device behind a board and behind the verilated RTL."""

from __future__ import annotations

import contextlib
import dataclasses

import numpy as np

from bnnedge import isa
from bnnedge.compiler import memory_of, pack
from bnnedge.compiler.emitter import RECORD_BYTES, REPORT_BYTES, Addresses
from bnnedge.compiler.layout import Layout, layout
from bnnedge.compiler.program import Compiler, Program, beats_of_scores
from bnnedge.compiler.tensors import Tensor
from bnnedge.configuration import Configuration
from bnnedge.devices.bus import Bus
from bnnedge.devices.device import DeviceError, Memory, StepResult, check_order, check_rate, check_samples
from bnnedge.devices.machine import Machine
from bnnedge.devices.region import Region
from bnnedge.devices.reports import NO_LOGIT, NO_REPORT, check_logits, results_of
from bnnedge.devices.tenancy import SharedDevice, exclusive
from bnnedge.formats import Code
from bnnedge.network import Network
from bnnedge.registers import Counter
from bnnedge.settings import Settings
from bnnedge.state import LayerState, TrainingState

PACKED_AT_ONCE = 1024  # images
INFERENCE_CHUNK = 64  # batches of one inference run


class AcceleratorDevice(SharedDevice):
    """`Device` for an accelerator behind a `Bus`; checks at once that it is the hardware of this configuration."""

    def __init__(self, bus: Bus, configuration: Configuration, name: str) -> None:
        super().__init__()
        self.bus, self.configuration, self.name = bus, configuration, name
        self.machine = Machine(bus, configuration)
        self._regions: dict[str, Region] = {}
        self._samples: tuple[np.ndarray, np.ndarray, Region] | None = None
        self._counters = dict.fromkeys((c.name.lower() for c in Counter), 0)

    # Device protocol

    @exclusive
    def prepare(self, network: Network, settings: Settings) -> None:
        """Compile for this network and reserve memory for its state."""
        self.prepared = self.holds = None
        self.machine.identify()
        self.layout = layout(network, settings, self.configuration)
        self.network, self.settings = network, settings
        self._forget_samples()
        while self._regions:
            self._regions.popitem()[1].release()
        plan = self.layout.plan
        sizes = {
            "records": plan.entries * RECORD_BYTES,
            **{tensor.name: self._tensor_bytes(tensor) for tensor in self.layout.weights()},
            **{f"latents {i}": self.layout.latent_bytes(i) for i in range(len(plan.geometry))},
            "arena": self.layout.arena()[1],
        }
        self._needed = sum(sizes.values())
        with contextlib.ExitStack() as stack:
            regions = {name: self._region(stack, size) for name, size in sizes.items()}
            stack.pop_all()
        self._regions = regions
        self._counters = dict.fromkeys(self._counters, 0)
        self._step = 0
        self.prepared = network, settings

    @exclusive
    def load_state(self, state: TrainingState) -> None:
        """Pack a training state into device memory."""
        self._ready()
        self.machine.identify()
        plan, config = self.layout.plan, self.configuration
        state.check(self.network, config)
        self.holds = None
        records = np.zeros((plan.entries, RECORD_BYTES // 8), np.uint64)
        for i, layer in enumerate(state.layers):
            self._regions[f"latents {i}"].fill(pack.pack_weights(layer.weight, i, self.layout))
            for kind, axes in (("weight", (3, 0, 1, 2)), ("weight_backward", (2, 0, 1, 3))):
                name = f"{i + 1}.{kind}"
                if name in plan:
                    size = (plan[name].height, plan[name].width)
                    sign = layer.sign.reshape(*size, -1, plan.geometry[i].filters).transpose(axes)
                    self._regions[name].fill(pack.pack_tensor(sign[:, :, :, None], plan[name], config))
            channels = pack.Records(**{field: getattr(layer, field) for field in pack.Records._fields})
            records[self._channels(i)] = pack.pack_records(channels)
            none = np.zeros(1, np.int32)
            exponent = pack.Records(np.array([layer.exponent]), none, np.array([layer.unit]), none, none)
            records[self._exponent(i)] = pack.pack_records(exponent)[0]
        self._regions["records"].fill(records)
        self._step = state.step
        self.holds = object()

    def _channels(self, i: int) -> slice:
        """Entries of layer i's channels."""
        first = self.layout.entry(i)
        return slice(first, first + self.layout.plan.geometry[i].filters)

    def _exponent(self, i: int) -> int:
        """Entry of layer i's exponent."""
        return self.layout.plan.entries - len(self.layout.plan.geometry) + i

    @exclusive
    def state(self) -> TrainingState:
        """Unpack the training state from device memory."""
        self._loaded()
        self.machine.identify()
        layers = []
        packed = self._regions["records"].fetch("<u8").reshape(-1, RECORD_BYTES // 8)
        records = pack.unpack_records(packed, self._channels(self.layout.plan.last))
        for i in range(len(self.layout.plan.geometry)):
            words = self._regions[f"latents {i}"].fetch("u1")
            channels = self._channels(i)
            layers.append(
                LayerState(
                    weight=pack.unpack_weights(words, i, self.layout),
                    **{field: values[channels].copy() for field, values in records._asdict().items()},
                    exponent=int(records.mu[self._exponent(i)]),
                    unit=int(records.centre[self._exponent(i)]),
                )
            )
        return TrainingState(layers, self._step)

    @exclusive
    def train(self, images: np.ndarray, labels: np.ndarray, order: np.ndarray, rate: int) -> list[StepResult]:
        """Run whole steps on the device; the host does nothing in between."""
        self._loaded()
        check_samples(images, self.network, labels)
        steps = check_order(order, self.settings.batch, images, self._step)
        results = self._train(images, labels, order, steps, rate, {})
        with self._running(changes=False):
            counters = self.machine.counters(results[-1].cycles)
        for counter, value in counters.items():
            self._counters[counter.name.lower()] += value
        return results

    @exclusive
    def probe(
        self, images: np.ndarray, labels: np.ndarray, order: np.ndarray, rate: int
    ) -> tuple[StepResult, dict[str, np.ndarray]]:
        """One step that stores every tensor as soon as it stands."""
        self._loaded()
        check_samples(images, self.network, labels)
        if check_order(order, self.settings.batch, images, self._step) != 1:
            raise ValueError("a probe takes one step")
        plan = self.layout.plan
        offsets, nbytes = self.layout.arena(shared=False)
        with contextlib.ExitStack() as stack:
            arena = self._region(stack, nbytes)
            addresses = {name: arena.address + offset for name, offset in offsets.items()}
            (result,) = self._train(images, labels, order, 1, rate, addresses)
            stored = arena.fetch("u1")

            def bits(name: str) -> np.ndarray:
                tensor, start = plan[name], offsets[name]
                return pack.unpack_tensor(stored[start : start + self._tensor_bytes(tensor)], tensor, self.configuration)

            found: dict[str, np.ndarray] = {}
            for i, code in enumerate(plan.codes):

                def values(planes: np.ndarray, kind: str, code: Code = code) -> np.ndarray:
                    """(B, H, W, C) of bits (B, H, W, planes, C): codes int16, everything else bool."""
                    return pack.codes_of(planes, code) if kind == "code" else planes[..., 0, :]

                for kind in ("active", "mask", "code"):
                    if f"{i + 1}.{kind}" in plan:
                        found[f"{i + 1}.{kind}"] = values(bits(f"{i + 1}.{kind}"), kind)
                    blocks = [bits(tensor.name) for tensor in plan.blocks(i, f"{kind}_columns")]
                    if blocks:
                        turned = np.concatenate(blocks, axis=-1).transpose(4, 1, 2, 3, 0)
                        found[f"{i + 1}.{kind}_columns"] = values(turned, kind)
                if f"{i + 1}.route_low" in plan:
                    low, high = (values(bits(f"{i + 1}.route_{half}"), "route") for half in ("low", "high"))
                    found[f"{i + 1}.route"] = low + 2 * high.astype(np.int8)
        return result, found

    @exclusive
    def infer(self, images: np.ndarray) -> np.ndarray:
        """Logits of any number of images; the last batch is filled up with the first images."""
        self._loaded()
        check_samples(images, self.network)
        config, settings = self.configuration, self.settings
        there = layout(self.network, settings, config, training=False)
        offsets, nbytes = there.arena()
        batch, per_image = settings.batch, 8 * beats_of_scores(self.network)
        logits = np.empty((len(images), self.network.classes), np.int16)
        chunk = INFERENCE_CHUNK * batch
        for start in range(0, len(images), chunk):
            part = images[start : start + chunk]
            batches = -(-len(part) // batch)
            with contextlib.ExitStack() as stack:
                samples = self._region(stack, len(part) * there.plan.sample_bytes)
                samples.fill(pack.pack_samples(part, np.zeros(len(part), np.int64), there.plan))
                order = self._region(stack, 4 * batches * batch)
                order.fill(np.arange(batches * batch, dtype="<u4") % len(part))
                scores = self._region(stack, batches * batch * per_image)
                scores.fill(np.full(batches * batch * per_image // 2, NO_LOGIT, "<i2"))
                arena = self._region(stack, nbytes)
                addresses = dataclasses.replace(
                    self._addresses(there, {name: arena.address + offset for name, offset in offsets.items()}),
                    samples=samples.address,
                    order=order.address,
                    scores=scores.address,
                )
                with self._running(changes=False):
                    self._run(Compiler(there, addresses).inference(batches))
                    values = scores.fetch("<i2").reshape(-1, per_image // 2)[: len(part), : self.network.classes]
                    check_logits(values)
                logits[start : start + len(part)] = values
        return logits

    @exclusive
    def counters(self) -> dict[str, int]:
        """Performance counters, summed over the `train` calls since `prepare`."""
        return dict(self._counters)

    @exclusive
    def memory(self) -> Memory:
        """Bytes that the prepared network takes."""
        self._ready()
        return memory_of(self.network, self.settings, self.configuration)

    def _release(self) -> None:
        """Close the bus, which gives all memory back."""
        self._regions, self._samples = {}, None
        self.bus.close()

    # Runs

    def _train(
        self, images: np.ndarray, labels: np.ndarray, order: np.ndarray, steps: int, rate: int, probes: dict[str, int]
    ) -> list[StepResult]:
        """Take steps; `probes` are the addresses of tensors that are to be found in DDR behind the one step."""
        check_rate(rate, self.network, self.configuration.latent)
        batch = self.settings.batch
        with contextlib.ExitStack() as stack:
            samples = self._data_set(images, labels)
            # The device gathers one batch ahead: behind the last one it finds the first again.
            padded = self._region(stack, 4 * (len(order) + batch))
            padded.fill(np.concatenate([order, order[:batch]]).astype("<u4"))
            reports = self._region(stack, steps * REPORT_BYTES)
            reports.fill(np.full(steps * REPORT_BYTES // 4, NO_REPORT, "<u4"))
            arena = self._regions["arena"].address
            offsets = self.layout.arena()[0]
            places = probes or {name: arena + offset for name, offset in offsets.items()}
            addresses = dataclasses.replace(
                self._addresses(self.layout, places),
                samples=samples.address,
                order=padded.address,
                reports=reports.address,
            )
            with self._running(changes=True):
                self._run(Compiler(self.layout, addresses).training(steps, rate, probe=bool(probes)))
                results = results_of(reports.fetch("<u4").reshape(steps, 4), batch)
                self._step += steps
        return results

    def _run(self, program: Program) -> None:
        """Run a program to its end; DeviceError says what stopped it."""
        with contextlib.ExitStack() as stack:
            code = self._region(stack, len(program.instructions) * isa.INSTRUCTION_BYTES)
            code.fill(program.encode())
            self.machine.run(code.address, self._step, self.settings.seed)

    # Memory

    def _region(self, stack: contextlib.ExitStack, nbytes: int) -> Region:
        try:
            region = Region(self.bus, nbytes)
        except MemoryError as error:
            hint = "use fewer images, fewer input planes, or a device with more memory"
            raise DeviceError(f"{error} (the network takes {self._needed:,} bytes, its images aside): {hint}") from None
        stack.callback(region.release)
        return region

    def _addresses(self, there: Layout, places: dict[str, int]) -> Addresses:
        """Where the state lies, and the tensors of `places`."""
        weights = {tensor.name: self._regions[tensor.name].address for tensor in there.weights()}
        return Addresses(
            tensors={**weights, **places},
            latents=tuple(self._regions[f"latents {i}"].address for i in range(len(there.plan.geometry))),
            records=self._regions["records"].address,
        )

    def _data_set(self, images: np.ndarray, labels: np.ndarray) -> Region:
        """The packed data set in device memory; packed anew only if the arrays are others."""
        if self._samples is None or self._samples[0] is not images or self._samples[1] is not labels:
            self._forget_samples()
            plan = self.layout.plan
            with contextlib.ExitStack() as stack:
                region = self._region(stack, len(images) * plan.sample_bytes)
                # A board has no room for a second packed data set.
                cuts = [slice(start, start + PACKED_AT_ONCE) for start in range(0, len(images), PACKED_AT_ONCE)]
                region.fill_with(pack.pack_samples(images[cut], labels[cut], plan) for cut in cuts)
                stack.pop_all()
            self._samples = (images, labels, region)
        return self._samples[2]

    def _forget_samples(self) -> None:
        if self._samples is not None:
            self._samples[2].release()
            self._samples = None

    def _tensor_bytes(self, tensor: Tensor) -> int:
        return tensor.size * self.configuration.lanes * self.configuration.word // 8
