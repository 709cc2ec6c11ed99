"""Tests of a device from its registers to training, on random data: what `bnnedge selftest` runs."""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Callable, Iterator

import numpy as np

from bnnedge import bounds, formats
from bnnedge.compiler.layout import layout
from bnnedge.configuration import Configuration, configuration
from bnnedge.devices import Device, open_device
from bnnedge.devices.waves import Waves
from bnnedge.layers import Conv2D, Dense, MaxPool2D
from bnnedge.network import Network
from bnnedge.rates import RATE
from bnnedge.settings import Settings
from bnnedge.state import ARRAYS, NUMBERS, LayerState, TrainingState
from bnnedge.trainer import Trainer

NETWORK = Network((8, 8, 2), [Conv2D(16, 3, padding="same"), MaxPool2D(), Dense(24), Dense(10)], "selftest")
SETTINGS = Settings(batch=64, gradient_planes=4)
STEPS = 4
ANSWER = 0xC52A070A  # CRC-32 of the golden model's state of `sim-small` after STEPS


@dataclasses.dataclass(frozen=True)
class Result:
    """One check: `text` says what was seen; `remedy`, if it failed and nothing else, what to do."""

    name: str
    text: str
    remedy: str = ""


def selftest(name: str, chosen: Configuration, waves: Waves | None = None) -> Iterator[Result]:
    """Check the device `name` with the configuration `chosen`; results as they come, none behind a device that does not open.

    ValueError if there is no such device, or if the configuration is too small for the network of this test.
    """
    try:
        layout(NETWORK, SETTINGS, chosen)
    except ValueError as error:
        raise ValueError(f"configuration {chosen.name!r} is too small for the network that selftest trains: {error}") from None
    yield _check("golden model", _golden, "NumPy computes something else here than elsewhere: install another version of it")
    try:
        device = open_device(name, chosen, waves=waves)
    except (RuntimeError, MemoryError) as error:
        yield Result("registers", str(error), "nothing else can be tested before this; for a board, see docs/pynq.md")
        return
    try:
        yield Result("registers", f"device {name!r} is {chosen.name!r}, digest {chosen.digest:#010x}")
        yield _check("memory", lambda: _memory(device), "host and accelerator disagree about memory: restart the board")
        if name != "golden":  # which is what the others are compared with
            wrong = "timing or a wrong bitstream: build it with a slower --clock, and report it if that does not help"
            yield _check("steps", lambda: _steps(device), wrong)
            yield _check("run", lambda: _run(device), wrong)
    finally:
        device.close()


def _check(name: str, run: Callable[[], str], remedy: str) -> Result:
    try:
        return Result(name, run())
    except (RuntimeError, MemoryError) as error:  # of devices, of what differs
        return Result(name, str(error), remedy)


def _golden() -> str:
    """The golden model gives the known answer."""
    with _trainer("golden", configuration("sim-small")) as trainer:
        _fit(trainer)
        arrays = [getattr(layer, name) for layer in trainer.state.layers for name in ARRAYS]
    found = zlib.crc32(b"".join(array.astype("<i8").tobytes() for array in arrays))
    if found != ANSWER:
        raise RuntimeError(f"after {STEPS} steps its state has the CRC {found:#010x}, not {ANSWER:#010x}")
    return f"NumPy {np.__version__} gives the known answer"


def _memory(device: Device) -> str:
    """A random state comes back as it was written, and then its complement, so that each bit has both values."""
    device.prepare(NETWORK, SETTINGS)
    written = _random_state(device.configuration)
    for state in (written, _complement(written)):
        device.load_state(state)
        found = device.state().differences(state)
        if found:
            raise RuntimeError(f"other bits come back than were written: {'; '.join(found)}")
    return f"{sum(device.memory().ddr.values()):,} bytes reserved; weights and statistics come back as they were written"


def _steps(device: Device) -> str:
    """Single steps, each tensor compared with the golden model's, and inference."""
    with _trainer(device, check=True) as trainer:
        _fit(trainer)
        trainer.evaluate(*_data())
    return f"{STEPS} steps and inference: every tensor equals the golden model's"


def _run(device: Device) -> str:
    """The same steps in one call, as in training."""
    with _trainer(device) as trainer, _trainer("golden", device.configuration) as golden:
        _fit(trainer)
        _fit(golden)
        found = trainer.state.differences(golden.state)
        if found:
            raise RuntimeError(f"after {STEPS} steps in one call, {'; '.join(found)} differ from the golden model's")
        measured = trainer.measure(*_data())
    cost = f", {measured.cycles / measured.images:,.0f} cycles per image" if measured else ""
    return f"{STEPS} steps in one call give the golden model's state{cost}"


def _trainer(device: str | Device, chosen: Configuration | None = None, check: bool = False) -> Trainer:
    return Trainer(NETWORK, device, configuration=chosen, settings=SETTINGS, rate=RATE, check=check)


def _fit(trainer: Trainer) -> None:
    trainer.fit(*_data(), steps=STEPS, progress=False)


def _data() -> tuple[np.ndarray, np.ndarray]:
    """Random images and labels, enough for STEPS batches: the same on every machine."""
    random = np.random.RandomState(1)
    count = STEPS * SETTINGS.batch
    shape = (count, *NETWORK.input_shape)
    pixels = np.frombuffer(random.bytes(int(np.prod(shape))), np.uint8).reshape(shape)
    return pixels, np.frombuffer(random.bytes(count), np.uint8) % NETWORK.classes


def _random_state(config: Configuration) -> TrainingState:
    """A training state of random bits in all fields, within the ranges of a state."""
    random = np.random.RandomState(2)
    weight, beta = config.latent_top << formats.MOMENT, 1 << formats.BETA_BITS - 1
    centre, size, layers = 1 << formats.CENTRE_BITS - 1, 1 << formats.SIZE_BITS, []
    for i, layer in enumerate(NETWORK.geometry):
        mean, last = bounds.mean_sum(layer, i, config), i == len(NETWORK.geometry) - 1
        layers.append(
            LayerState(
                weight=random.randint(-weight, weight, (layer.fan_in, layer.fan_out)).astype(np.int16),
                beta=random.randint(-beta, beta, layer.fan_out).astype(np.int32),
                mu=random.randint(-mean, mean, layer.fan_out).astype(np.int32),
                psi=random.randint(0, 1 << formats.MU_BITS, layer.fan_out).astype(np.int32),
                centre=random.randint(-centre, centre, layer.fan_out).astype(np.int32),
                size=random.randint(0, size, layer.fan_out, np.int64) - last * (size >> 1),
                exponent=5,
                unit=0 if last else 9,
            )
        )
    return TrainingState(layers)


def _complement(state: TrainingState) -> TrainingState:
    """The state with all bits the other way; what has no sign gets none."""
    hidden = {"psi": (1 << formats.MU_BITS) - 1, "size": (1 << formats.SIZE_BITS) - 1}
    last = {"psi": hidden["psi"], "unit": 0}
    layers = []
    for layer, bits in zip(state.layers, [*[hidden] * (len(state.layers) - 1), last], strict=True):
        layers.append(LayerState(**{name: getattr(layer, name) ^ bits.get(name, -1) for name in (*ARRAYS, *NUMBERS)}))
    return TrainingState(layers)
