"""Waveforms: which steps they show, and what is left of a run that ends early."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bnnedge import Configuration, Dense, Network, Settings, Trainer, open_device
from bnnedge.devices.accelerator import AcceleratorDevice
from bnnedge.devices.device import DeviceError, DeviceWarning, StepResult
from bnnedge.devices.golden import GoldenDevice
from bnnedge.devices.waves import TracedDevice, Waves

SMALL = Configuration("small", lanes=4, word=16, left_depth=256, right_depth=256, tile_rows=256, channels=64)
BATCH = 64


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("run.txt",), r"the file's name must end in .fst or .vcd, not 'run.txt'"),
        (("run.vcd", 0, 1), "the steps must go from 1 or later to the same or later, not 0-1"),
        (("run.vcd", 3, 2), "not 3-2"),
    ],
)
def test_what_is_refused(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Waves(*arguments)


def test_other_devices_write_none() -> None:
    with pytest.raises(ValueError, match="the device 'rtl' alone writes waveforms, not 'golden'"):
        open_device("golden", SMALL, waves=Waves("run.vcd"))


def test_a_trainer_takes_a_function_that_opens_a_device() -> None:
    opened = []

    def opener(config: Configuration) -> GoldenDevice:
        opened.append(GoldenDevice(config))
        return opened[0]

    with Trainer(Network((6,), [Dense(5), Dense(3)]), opener, configuration=SMALL, settings=Settings(batch=BATCH)) as trainer:
        assert trainer.device is opened[0]
        assert trainer.device.configuration == SMALL
    with pytest.raises(DeviceError, match="closed"):
        opened[0].prepare(Network((6,), [Dense(3)]), Settings(batch=BATCH))


def test_a_place_that_cannot_be_written_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "folder.vcd").mkdir()
    for place in ("file/run.vcd", "folder.vcd"):
        with pytest.raises(OSError, match=re.escape(place.split("/")[0])):
            Waves(tmp_path / place).check()
    (tmp_path / "run.vcd").write_text("earlier")
    Waves(tmp_path / "run.vcd").check()
    assert (tmp_path / "run.vcd").read_text() == "earlier"


class Bus:
    """Writes which steps were taken while a file was open."""

    hierarchy = "head\taccelerator.core.head\tfsm_state_text[55:0]\n"

    def __init__(self) -> None:
        self.place: Path | None = None
        self.written: list[str] = []
        self.full = False

    def open_waves(self, path: Path) -> None:
        self.place = path

    def close_waves(self) -> bool:
        assert self.place
        self.place.write_text(" ".join(self.written))
        self.place = None
        return not self.full

    def close(self) -> None:
        pass


class Stub(TracedDevice):
    """Has no accelerator."""

    name = "stub"

    def __init__(self, waves: Waves) -> None:
        AcceleratorDevice.__bases__[0].__init__(self)
        self.bus = Bus()  # type: ignore[assignment]
        self._waves, self._open, self._regions = waves, None, {}
        self._step, self.settings, self.network = 0, Settings(batch=BATCH), Network((4,), [Dense(4)])
        self.prepared, self.holds = (self.network, self.settings), object()
        self.calls: list[int] = []


@pytest.fixture
def stubbed(monkeypatch: pytest.MonkeyPatch) -> None:
    def train(self: Stub, images: np.ndarray, labels: np.ndarray, order: np.ndarray, rate: int) -> list[StepResult]:
        steps = len(order) // BATCH
        self.calls.append(steps)
        for i in range(steps):
            self._step += 1
            if self._step == 13:
                raise DeviceError("an assertion")
            if self.bus.place:
                self.bus.written.append(f"{self._step}:{order[i * BATCH]}")  # type: ignore[attr-defined]
        return [StepResult(0, 0, 10 * (i + 1)) for i in range(steps)]

    monkeypatch.setattr(AcceleratorDevice, "train", train)


def take(device: Stub, steps: int) -> list[int]:
    """Steps whose orders are the number of the step in this call."""
    order = np.repeat(np.arange(steps), BATCH)
    images, labels = np.zeros((64, 4), np.uint8), np.zeros(64, np.int64)
    return [result.cycles for result in device.train(images, labels, order, 1)]


@pytest.mark.usefixtures("stubbed")
@pytest.mark.parametrize(
    ("first", "last", "calls", "split"),
    [
        (1, 1, [5], [1, 4]),
        (2, 3, [5], [1, 2, 2]),
        (4, 7, [5, 1, 4], [3, 2, 1, 1, 3]),
        (5, 5, [5], [4, 1]),
        (2, 2, [1, 1], [1, 1]),
    ],
)
def test_the_steps_asked_for(tmp_path: Path, first: int, last: int, calls: list[int], split: list[int]) -> None:
    device = Stub(Waves(tmp_path / "run.vcd", first, last))
    for steps in calls:
        assert take(device, steps) == [10 * (i + 1) for i in range(steps)], "cycles go on through a call"
    assert device.calls == split
    orders = [place for steps in calls for place in range(steps)]
    wanted = [f"{step}:{orders[step - 1]}" for step in range(first, last + 1)]
    assert (tmp_path / "run.vcd").read_text().split() == wanted
    saved = (tmp_path / "run.vcd.gtkw").read_text()
    assert f'[dumpfile] "{tmp_path / "run.vcd"}"' in saved
    assert "@820\naccelerator.core.head.fsm_state_text[55:0]\n" in saved
    device.close()


@pytest.mark.usefixtures("stubbed")
def test_a_run_that_ends_within_them_leaves_what_there_is(tmp_path: Path) -> None:
    device = Stub(Waves(tmp_path / "run.vcd", 2, 9))
    take(device, 3)
    assert not (tmp_path / "run.vcd").exists()
    device.close()
    assert (tmp_path / "run.vcd").read_text() == "2:1 3:2"

    device = Stub(Waves(tmp_path / "failed.vcd", 12, 20))
    with pytest.raises(DeviceError, match="an assertion"):
        take(device, 16)
    assert (tmp_path / "failed.vcd").read_text() == "12:11"


@pytest.mark.usefixtures("stubbed")
def test_steps_that_were_not_taken_are_told(tmp_path: Path) -> None:
    device = Stub(Waves(tmp_path / "run.vcd", 6, 7))
    take(device, 3)
    with pytest.warns(DeviceWarning, match=r"no waveforms in .*run.vcd: no step of 6-7 was taken"):
        device.close()
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("stubbed")
def test_a_full_disk_names_the_file_and_leaves_none(tmp_path: Path) -> None:
    device = Stub(Waves(tmp_path / "run.vcd", 1, 2))
    device.bus.full = True  # type: ignore[attr-defined]
    with pytest.raises(OSError, match=r"could not be written to .*run.vcd: is the disk full"):
        take(device, 3)
    assert not list(tmp_path.iterdir())


def test_what_is_not_whole_of_fst(tmp_path: Path) -> None:
    from bnnedge.sim.verilated.waves import whole

    sizes = {0: 321, 5: 40, 3: 9, 7: 11}  # by kind
    blocks = [bytes([kind]) + (8 + size).to_bytes(8, "big") + bytes(size) for kind, size in sizes.items()]
    file = tmp_path / "run.fst"
    file.write_bytes(b"".join(blocks))
    assert whole(file)
    for cut in (b"".join(blocks)[:-1], b"".join(blocks[:3]), b""):
        file.write_bytes(cut)
        assert not whole(file)


@pytest.mark.long
def test_the_simulated_accelerator_writes_a_step_with_its_states(tmp_path: Path) -> None:
    """The clock rises as often as the step takes cycles, and the softmax passes through its states."""
    from bnnedge.devices.rtl import open_rtl

    random = np.random.RandomState(1)
    x, y = random.randint(0, 256, (256, 6)).astype(np.uint8), random.randint(0, 3, 256)
    settings, network = Settings(batch=BATCH), Network((6,), [Dense(5), Dense(3)])
    states = []
    for opener in (lambda config: open_rtl(config, Waves(tmp_path / "run.vcd", 2, 2)), "golden"):
        with Trainer(network, opener, configuration=SMALL, settings=settings, check=False) as trainer:
            trainer.fit(x, y, steps=3)
            states.append(trainer.state)
    assert states[0].differences(states[1]) == []
    text = (tmp_path / "run.vcd").read_text()
    scopes: list[str] = []
    codes: dict[str, str] = {}
    for line in text[: text.index("$enddefinitions")].splitlines():
        words = line.split()
        if words[:1] == ["$scope"]:
            scopes.append(words[2])
        elif words[:1] == ["$upscope"]:
            scopes.pop()
        elif words[:1] == ["$var"]:
            codes[".".join([*scopes, words[4]])] = words[3]
    rises = len(re.findall(rf"^1{re.escape(codes['accelerator.clk'])}$", text, re.MULTILINE))
    assert 5_000 < rises < 20_000
    softmax = re.escape(codes["accelerator.core.head.softmax.fsm_state_text"])
    seen = {int(bits, 2).to_bytes(11, "big").strip(b"\0").decode() for bits in re.findall(rf"^b([01]+) {softmax}$", text, re.M)}
    assert seen == {"IDLE", "RECIPROCALS", "CLASSES", "LABEL", "POWERS"}  # scores are of inference
    listed = re.findall(r"^(accelerator\S+?)(?:\[\d+:0\])?$", (tmp_path / "run.vcd.gtkw").read_text(), re.MULTILINE)
    assert len(listed) > 100
    assert set(listed) <= codes.keys()
