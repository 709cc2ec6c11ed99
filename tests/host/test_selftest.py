"""The self-test: passes on devices that work, and says what is wrong with those that do not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bnnedge import DeviceError, selftest
from bnnedge.cli import main
from bnnedge.configuration import CONFIGURATIONS, Configuration
from bnnedge.devices import DEVICES
from bnnedge.devices.golden import GoldenDevice
from bnnedge.state import TrainingState

ALL = ["golden model", "registers", "memory", "steps", "run"]


class Sound(GoldenDevice):
    """A device that can be checked: the golden model itself cannot."""

    name = "other"


class Forgetful(Sound):
    """Its memory has a bit that is always 0."""

    def state(self) -> TrainingState:
        state = super().state()
        state.layers[1].beta &= ~np.int16(4)
        return state


class Skewed(Sound):
    """Sees its first image only, and in one of two ways of training alone."""

    def train(self, images: Any, labels: Any, order: Any, rate: int) -> Any:
        return super().train(images, labels, order if len(order) == selftest.SETTINGS.batch else 0 * order, rate)


class Stuck(Sound):
    """Never ends."""

    def probe(self, *arguments: Any) -> Any:
        raise DeviceError("no progress for 1000000 cycles")


def failed(device: Any, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Checks that fail on a device, and what they say."""
    monkeypatch.setitem(DEVICES, "rtl", device)
    results = list(selftest.selftest("rtl", CONFIGURATIONS["sim-small"]))
    assert [result.name for result in results] in (ALL, ALL[:2])
    return {result.name: result.text for result in results if result.remedy}


@pytest.mark.parametrize("config", CONFIGURATIONS.values(), ids=list(CONFIGURATIONS))
def test_sound_devices_pass_in_every_configuration(config: Configuration, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DEVICES, "rtl", Sound)
    results = list(selftest.selftest("rtl", config))
    assert [result.name for result in results] == ALL
    assert not any(result.remedy for result in results)


def test_what_is_wrong_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    found = failed(Forgetful, monkeypatch)
    assert found["memory"].startswith("other bits come back than were written: layer 2 beta: ")
    assert set(failed(Skewed, monkeypatch)) == {"run"}
    assert failed(Stuck, monkeypatch) == {"steps": "no progress for 1000000 cycles"}


def test_a_wrong_golden_model_is_not_taken_for_a_wrong_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selftest, "ANSWER", 0)
    assert set(failed(Sound, monkeypatch)) == {"golden model"}


def test_a_device_that_does_not_open_ends_it(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def closed(configuration: Configuration) -> Any:
        raise DeviceError("register MAGIC is 0x0")

    assert failed(closed, monkeypatch) == {"registers": "register MAGIC is 0x0"}
    assert main(["selftest", "--device", "rtl"]) == 1
    printed = capsys.readouterr().out.splitlines()
    assert printed[1:3] == [
        "FAILED  registers     register MAGIC is 0x0",
        "                      nothing else can be tested before this; for a board, see docs/pynq.md",
    ]
    assert printed[-1] == "failed: registers"


def test_golden(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["selftest", "--device", "golden", "--config", "pynq-z2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line[:22] for line in lines[:3]] == [f"{'ok':<8}{name:<14}" for name in ALL[:3]]
    assert lines[-1] == "golden works"


def test_the_simulated_accelerator(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["selftest", "--device", "rtl", "--config", "sim-small"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line[:22] for line in lines[:5]] == [f"{'ok':<8}{name:<14}" for name in ALL]
    assert "cycles per image" in lines[4]


def test_no_board(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("BNNEDGE_BITSTREAM", raising=False)
    assert main(["selftest"]) == 1
    assert "FAILED  registers" in capsys.readouterr().out
