"""The driver of PYNQ boards, with the real pynq package on a simulated board."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("pynq", reason="pynq is not installed (pip install 'bnnedge[board]')")

import pynq
from exact import Pair
from overlays import overlay
from pynq_board import AFI, SLCR, Buffer, SimulatedBoard

from bnnedge import Conv2D, Dense, DeviceError, MaxPool2D, MismatchError, Network, Settings, Trainer, configuration, open_device
from bnnedge.cli import main
from bnnedge.devices.accelerator import AcceleratorDevice
from bnnedge.devices.bitstream import VARIABLE
from bnnedge.devices.machine import Machine
from bnnedge.devices.pynq import open_pynq
from bnnedge.registers import MAGIC, REGISTERS
from bnnedge.sim.verilated import VerilatedBus
from bnnedge.state import TrainingState

CONFIG = configuration("sim-small")


@pytest.fixture
def board(verilog: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SimulatedBoard]:
    """The board that pynq finds, and the bitstream that the driver finds."""
    with VerilatedBus.from_verilog(verilog, 2, size=8 << 20) as bus:
        device = SimulatedBoard(bus)
        monkeypatch.setattr(pynq.Device, "_active_device", device, raising=False)
        monkeypatch.setattr(pynq.ps, "CPU_ARCH", device.arch)  # which pynq 3.0 asks for the clocks
        monkeypatch.delattr(pynq.Clocks, "_real_instance", raising=False)  # of the board before
        monkeypatch.setenv(VARIABLE, str(overlay(tmp_path / "overlay", CONFIG)))
        yield device
        monkeypatch.delattr(pynq.Clocks, "_real_instance", raising=False)


def test_a_network_trains_bit_for_bit_like_the_golden_model(board: SimulatedBoard) -> None:
    random = np.random.RandomState(0)
    labels = random.randint(0, 4, 160)
    images = (random.randint(0, 100, (160, 6, 6)) + 40 * labels[:, None, None]).astype(np.uint8)
    network = Network((6, 6), [Dense(24), Dense(16), Dense(4)])
    settings = Settings(batch=64, gradient_planes=4)
    with Trainer(network, "pynq", settings=settings, check=True) as trainer:
        history = trainer.fit(images, labels, epochs=2, validation_data=(images, labels))
        assert trainer.bit_exact
        assert trainer.device.name == "pynq"
    assert len(history.history["val_accuracy"]) == 2
    assert board.buffers == {}


def test_convolutions_agree_down_to_every_tensor(board: SimulatedBoard) -> None:
    device = open_pynq(CONFIG)
    network = Network((6, 6, 2), [Conv2D(16, 3, padding="same"), MaxPool2D("sums"), Dense(16), Dense(3)])
    pair = Pair.of(device, network, Settings(batch=64, gradient_planes=2), images=70)
    pair.train(2)
    pair.probe()
    pair.infer()
    device.close()
    assert board.buffers == {}


def test_selftest(board: SimulatedBoard, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["selftest"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert [line[:12] for line in printed[:5]] == [f"ok      {name}" for name in ("gold", "regi", "memo", "step", "run ")]
    assert "device 'pynq' is 'sim-small'" in printed[1]
    assert board.buffers == {}


def test_clock_and_ports_are_set_before_the_accelerator_is_used(board: SimulatedBoard) -> None:
    config = dataclasses.replace(CONFIG, clock_hz=50_000_000)
    open_pynq(config)
    assert pynq.Clocks.fclk0_mhz == 50.0
    for port in range(4):
        wide = port in (0, 2)  # those that the board connects
        for offset in (0x00, 0x14):
            assert board.processor[AFI + 0x1000 * port + offset] == (0 if wide else 1)


def test_pynq_shows_registers_by_name(board: SimulatedBoard, tmp_path: Path) -> None:
    loaded = pynq.Overlay(str(tmp_path / "overlay" / "bnnedge.bit"))
    registers = loaded.bnnedge.register_map
    assert int(registers.MAGIC) == MAGIC
    assert int(registers.CONFIGURATION) == CONFIG.digest
    assert registers.STATUS.busy == 0
    registers.PROGRAM = 0x1000_0040
    assert int(registers.PROGRAM) == 0x1000_0040
    assert pynq.Clocks.fclk0_mhz == 100.0


def test_too_little_contiguous_memory_says_how_to_get_more(board: SimulatedBoard) -> None:
    device = open_pynq(CONFIG)
    network = Network((16,), [Dense(16), Dense(4)])
    device.prepare(network, Settings(batch=64))
    device.load_state(TrainingState.initial(network, CONFIG.latent, 8, 1))
    held = set(board.buffers)
    images, labels = np.zeros((300_000, 16), np.uint8), np.zeros(300_000, np.int64)
    text = r"no [\d,]+ bytes of contiguous memory beside the [\d,]+ in use .* cma=256M, .*takes [\d,]+ bytes.*fewer images"
    with pytest.raises(DeviceError, match=text):
        device.train(images, labels, np.arange(64), 1)
    assert set(board.buffers) == held


@pytest.mark.parametrize("error", [PermissionError(13, "Permission denied"), OSError("Root permissions required.")])
def test_without_the_rights_of_root_it_says_so(board: SimulatedBoard, error: Exception) -> None:
    board.failure = error
    with pytest.raises(DeviceError, match=r"no access to the programmable logic: run as root, with sudo -E or in .*notebooks"):
        open_pynq(CONFIG)


def test_another_chip_is_refused_before_the_bitstream_is_loaded(board: SimulatedBoard) -> None:
    board.processor[SLCR + 0x530] = 0x13722093
    with pytest.raises(DeviceError, match=r"is for TUL PYNQ-Z2 \(xc7z020clg400-1\), and this chip is another .*0x03722093"):
        open_pynq(CONFIG)
    board.arch = "aarch64"
    with pytest.raises(DeviceError, match="is for TUL PYNQ-Z2, and this device's processor is aarch64"):
        open_pynq(CONFIG)
    assert board.log == []


def test_a_bitstream_that_is_not_what_it_says_is_refused(board: SimulatedBoard, tmp_path: Path) -> None:
    other = configuration("pynq-z2")
    folder = overlay(tmp_path / "other", other)
    with pytest.raises(DeviceError, match=r"register CONFIGURATION is .*: the accelerator was not generated from 'pynq-z2'"):
        open_pynq(other, folder)


def test_old_metadata_is_refused(board: SimulatedBoard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = overlay(tmp_path / "old", dataclasses.replace(CONFIG, lanes=4))
    read = board.get_bitfile_metadata
    monkeypatch.setattr(board, "get_bitfile_metadata", lambda name, partial=False: read(str(old / "bnnedge.bit")))
    with pytest.raises(
        DeviceError, match=r"pynq's metadata of .* is not that of the .hwh beside it: delete _current_metadata.pkl"
    ):
        open_pynq(CONFIG)


def test_a_clock_that_cannot_be_had_is_refused(board: SimulatedBoard) -> None:
    with (
        pytest.warns(UserWarning, match="closest possible"),
        pytest.raises(DeviceError, match=r"FCLK0 is 90.9091 MHz and 'sim-small' asks for 95 MHz: choose a clock_hz"),
    ):
        open_pynq(dataclasses.replace(CONFIG, clock_hz=95_000_000))


def test_a_port_that_stays_narrow_is_refused(board: SimulatedBoard) -> None:
    board.stuck = {AFI + 0x2014}
    with pytest.raises(DeviceError, match="high-performance port 2 stays 32 bits wide, whatever is written to 0xf800a014"):
        open_pynq(CONFIG)


def test_a_device_that_pynq_cannot_load_is_explained(board: SimulatedBoard, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: Any) -> None:
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(board, "download", fail)
    with pytest.raises(DeviceError, match=r"pynq cannot load .*bnnedge.bit \(OSError: \[Errno 22\] Invalid argument\)"):
        open_device("pynq", CONFIG)


def test_no_board_at_all_is_explained(board: SimulatedBoard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(pynq.Device, "_active_device")
    monkeypatch.setattr(pynq.Device, "_devices", [], raising=False)
    with pytest.raises(DeviceError, match=r"pynq finds no device: run this on a PYNQ board, or set PYNQ_REMOTE_DEVICES"):
        open_device("pynq", CONFIG)


def trainer_and_data() -> tuple[Trainer, np.ndarray, np.ndarray]:
    """A small training on the board, two steps of it taken."""
    random = np.random.RandomState(0)
    labels = random.randint(0, 4, 160)
    images = (random.randint(0, 100, (160, 6, 6)) + 40 * labels[:, None, None]).astype(np.uint8)
    trainer = Trainer(Network((6, 6), [Dense(24), Dense(4)]), "pynq", settings=Settings(batch=64))
    trainer.fit(images, labels, steps=2)
    return trainer, images, labels


def calls(trainer: Trainer, images: np.ndarray, labels: np.ndarray) -> list[Callable[[], object]]:
    """What a trainer needs its board for."""
    return [
        lambda: trainer.fit(images, labels, steps=4, resume=True),
        lambda: trainer.fit(images, labels, epochs=2),
        lambda: trainer.evaluate(images, labels),
        lambda: trainer.predict(images),
    ]


@pytest.mark.parametrize("value", [0, 2, 0x5555_5555, 0xFFFF_FFFF])
@pytest.mark.parametrize("when", ["between calls", "in a call"])
def test_registers_that_all_read_the_same(
    board: SimulatedBoard, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, value: int, when: str
) -> None:
    trainer, images, labels = trainer_and_data()
    before, read, write = trainer.state, board._read, board._write

    def lost(address: int) -> int:
        return read(address) if board._offset(address) is None else value

    def lost_at_start(address: int, written: int) -> None:
        write(address, written)
        if board._offset(address) == REGISTERS["CONTROL"].offset and written == 1:
            monkeypatch.setattr(board, "_read", lost)

    for call in calls(trainer, images, labels):
        with monkeypatch.context() as patch:
            if when == "in a call":
                patch.setattr(board, "_write", lost_at_start)
            else:
                patch.setattr(board, "_read", lost)
            with pytest.raises(DeviceError, match=f"register MAGIC is {value:#x}, .* another bitstream was loaded since"):
                call()
        monkeypatch.setattr(board, "_read", read)
        board.bus.reset()  # as loading the bitstream again does
        assert trainer.state.differences(before) == []
    trainer.save(tmp_path / "kept.npz")
    trainer.fit(images, labels, epochs=3)
    with Trainer.load(tmp_path / "kept.npz") as golden:
        golden.fit(images, labels, epochs=3)
        assert golden.state.differences(trainer.state) == []
    trainer.close()


def test_another_configuration_loaded_meanwhile(board: SimulatedBoard, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer, images, labels = trainer_and_data()
    monkeypatch.setattr(trainer.device.machine, "configuration", dataclasses.replace(CONFIG, channels=512))
    for call in calls(trainer, images, labels):
        with pytest.raises(DeviceError, match=r"register CONFIGURATION is 0x\w+, not .* not generated from .* another bitstream"):
            call()
    trainer.close()


def test_closed_ones_say_so_and_give_buffers_back_once(
    board: SimulatedBoard, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    freed: list[int] = []
    free = Buffer.freebuffer
    monkeypatch.setattr(Buffer, "freebuffer", lambda self: (freed.append(id(self)), free(self))[1])
    allocate, kept = board.allocate, []  # so that no identity is used again
    monkeypatch.setattr(board, "allocate", lambda *a, **k: (kept.append(allocate(*a, **k)), kept[-1])[1])
    trainer, images, labels = trainer_and_data()
    evaluated = trainer.evaluate(images, labels)
    device = trainer.device
    trainer.close()
    trainer.close()
    device.close()
    assert board.buffers == {}
    assert sorted(freed) == sorted(map(id, kept)), "each once"
    for call in calls(trainer, images, labels):
        with pytest.raises(DeviceError, match="this trainer is closed: save it, which still works"):
            call()
    untrained = open_device("pynq", CONFIG)
    untrained.prepare(trainer.network, trainer.settings)
    untrained.close()
    order = np.arange(64)
    for closed in (device, untrained):
        for use in (
            lambda closed=closed: closed.state(),
            lambda closed=closed: closed.load_state(trainer.state),
            lambda closed=closed: closed.train(images, labels, order, 1),
            lambda closed=closed: closed.infer(images),
            lambda closed=closed: closed.prepare(trainer.network, trainer.settings),
        ):
            with pytest.raises(DeviceError, match="device 'pynq' is closed: open it again, and go on from a checkpoint"):
                use()
    assert board.buffers == {}
    trainer.save(tmp_path / "kept.npz")
    with Trainer.load(tmp_path / "kept.npz", "pynq") as again:
        assert again.evaluate(images, labels) == evaluated


def test_the_first_steps_are_compared_without_storing_tensors(board: SimulatedBoard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AcceleratorDevice, "probe", None)
    trainer, images, labels = trainer_and_data()
    assert (trainer.checked_steps, trainer.bit_exact) == (2, True)
    trainer.fit(images, labels, epochs=3, resume=True)
    assert (trainer.checked_steps, trainer.bit_exact) == (4, True)
    trainer.close()


@pytest.mark.parametrize("step", [1, 2, 3])
def test_a_wrong_bit_in_a_weight_is_found_in_the_first_steps(
    board: SimulatedBoard, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    trainer, images, labels = trainer_and_data()
    run = Machine.run

    def wrong(self: Machine, program: int, before: int, seed: int) -> None:
        run(self, program, before, seed)
        if before == 1 + step:
            region = trainer.device._regions["latents 0"]
            board.buffers[region.address][1][40] ^= 0x80  # the accelerator's side

    monkeypatch.setattr(Machine, "run", wrong)
    if step < 3:
        text = f"step {2 + step}: device 'pynq' and the golden model differ in layer 1 weight: 1 of 864 values"
        with pytest.raises(MismatchError, match=text):
            trainer.fit(images, labels, epochs=3, steps_per_call=1)
        assert trainer.bit_exact is False
    else:
        trainer.fit(images, labels, epochs=3, steps_per_call=1)
        assert (trainer.checked_steps, trainer.bit_exact) == (4, True)
    trainer.close()


def test_trainers_take_turns(board: SimulatedBoard) -> None:
    trainer, images, labels = trainer_and_data()
    network, settings = Network((6, 6), [Dense(20), Dense(16), Dense(4)]), Settings(batch=64, seed=5)
    other = Trainer(network, trainer.device, settings=settings)
    alone = Trainer(trainer.network, settings=trainer.settings), Trainer(network, settings=settings)
    alone[0].fit(images, labels, steps=2)
    for ours, golden in ((other, alone[1]), (trainer, alone[0]), (other, alone[1])):
        assert ours.fit(images, labels, epochs=2) == golden.fit(images, labels, epochs=2)
        assert ours.state.differences(golden.state) == []
        assert ours.evaluate(images, labels) == golden.evaluate(images, labels)
    trainer.close()
