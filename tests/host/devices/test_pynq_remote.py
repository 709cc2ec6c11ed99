"""A board driven from a PC over PYNQ.remote, with the real pynq package on the PC's side."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pynq.pl_server.remote_device", reason="pynq 4.0 is not installed (pip install 'bnnedge[board]')")

import pynq
from overlays import bit_file, overlay
from pynq.pl_server import embedded_device, global_state, remote_device
from pynq_board import SimulatedBoard
from pynq_remote import MANAGER, Server

from bnnedge import Dense, DeviceError, Network, Settings, Trainer, configuration, open_device
from bnnedge.devices.bitstream import VARIABLE
from bnnedge.devices.pynq import open_pynq
from bnnedge.sim.verilated import VerilatedBus
from bnnedge.state import TrainingState

CONFIG = configuration("sim-small")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:pynq")  # of what pynq itself uses


@pytest.fixture
def server(verilog: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A board with a server, that pynq is told of, and the bitstream that the driver finds."""
    # pynq keeps files in its own folder.
    monkeypatch.setattr(global_state, "STATE_DIR", str(tmp_path))
    for module in (embedded_device, remote_device):
        monkeypatch.setattr(module, "__file__", str(tmp_path / "module.py"))
    with VerilatedBus.from_verilog(verilog, 2, size=8 << 20) as bus:
        server = Server(SimulatedBoard(bus))
        device = remote_device.RemoteDevice(ip_addr="127.0.0.1", port=server.port)
        monkeypatch.setattr(pynq.Device, "_active_device", device, raising=False)
        monkeypatch.delattr(pynq.Clocks, "_real_instance", raising=False)  # of the board before
        monkeypatch.setenv(VARIABLE, str(overlay(tmp_path / "overlay", CONFIG)))
        yield server
        server.close()
        monkeypatch.delattr(pynq.Clocks, "_real_instance", raising=False)


def test_a_notebook_on_a_pc_trains_bit_for_bit_like_the_golden_model(server: Server) -> None:
    random = np.random.RandomState(0)
    labels = random.randint(0, 4, 160)
    images = (random.randint(0, 100, (160, 6, 6)) + 40 * labels[:, None, None]).astype(np.uint8)
    network = Network((6, 6), [Dense(24), Dense(4)])
    with Trainer(network, "pynq", configuration="sim-small", settings=Settings(batch=64), check=True) as trainer:
        trainer.fit(images, labels, validation_data=(images, labels))
        assert trainer.bit_exact
    assert server.files.board.buffers == {}


def test_a_new_bitstream_replaces_an_older_one_on_the_board(server: Server, tmp_path: Path) -> None:
    open_pynq(CONFIG).close()
    folder = overlay(tmp_path / "newer", CONFIG, bits=bit_file(content=b"newer" * 100))
    open_pynq(CONFIG, folder).close()
    names = [name for name in server.files.files if name.startswith("/lib/firmware/bnnedge-")]
    assert len(names) == 2
    assert server.files.files[names[1]] != server.files.files[names[0]]
    assert server.files.files["/sys/class/fpga_manager/fpga0/firmware"].decode() == Path(names[1]).name


def test_too_little_memory_on_the_board_is_said(server: Server) -> None:
    device = open_device("pynq", CONFIG)
    network = Network((16,), [Dense(16), Dense(4)])
    device.prepare(network, Settings(batch=64))
    device.load_state(TrainingState.initial(network, CONFIG.latent, 8, 1))
    images, labels = np.zeros((300_000, 16), np.uint8), np.zeros(300_000, np.int64)
    with pytest.raises(DeviceError, match=r"no [\d,]+ bytes of contiguous memory beside .* in use .*no more"):
        device.train(images, labels, np.arange(64), 1)
    device.close()


def test_a_bitstream_that_the_board_refuses_is_said(server: Server) -> None:
    server.files.files[f"{MANAGER}/state"] = b"write error\n"
    with pytest.raises(DeviceError, match=r"the board refused .*bnnedge.bit: its FPGA manager says 'write error'"):
        open_pynq(CONFIG)


def test_a_board_that_is_switched_off_is_said(server: Server) -> None:
    device = open_pynq(CONFIG)
    network = Network((16,), [Dense(16), Dense(4)])
    device.prepare(network, Settings(batch=64))
    device.load_state(TrainingState.initial(network, CONFIG.latent, 8, 1))
    server.close()
    with pytest.raises(DeviceError, match=r"memory cannot be reserved \(.*Connection refused\)$"):
        device.infer(np.zeros((64, 16), np.uint8))
    device.close()
