"""The archive for a board: what is in it, and what its installer leaves in an environment with NumPy alone."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import venv
from pathlib import Path

import numpy as np
import pytest
from overlays import overlay
from pretend import BOARD

from bnnedge import DeviceError, configuration
from bnnedge.boards import BOARDS
from bnnedge.boards import package as packaging
from bnnedge.boards.package import PackageError, package
from bnnedge.cli import main

CONFIG = configuration("sim-small")
WHEEL = "bnnedge-0.2.0.dev0-py3-none-any.whl"
OVERLAY = [f"overlays/sim-small/bnnedge.{end}" for end in ("bit", "hwh")] + ["overlays/sim-small/manifest.json"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a build leaves."""
    return overlay(tmp_path_factory.mktemp("build") / "sim-small", CONFIG)


@pytest.fixture(scope="module")
def archive(folder: Path) -> Path:
    path = folder.with_name("archive.tar.gz")
    names = package(BOARD, folder, path)
    assert names == [WHEEL, "install.sh", *OVERLAY, "SHA256SUMS"]
    return path


@pytest.fixture
def unpacked(archive: Path, tmp_path: Path) -> Path:
    with tarfile.open(archive) as tar:
        tar.extractall(tmp_path)
    return tmp_path / "bnnedge-pynq-z2"


@pytest.fixture
def spared(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Spare the building of wheels."""
    (tmp_path / WHEEL).write_bytes(b"wheel")
    monkeypatch.setattr(packaging, "wheel", lambda folder: tmp_path / WHEEL)


def run(*command: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "BNNEDGE_BITSTREAM")}
    return subprocess.run([str(part) for part in command], env={**inherited, **environment}, text=True, capture_output=True)


def test_equal_sources_give_equal_bytes(archive: Path, folder: Path, tmp_path: Path) -> None:
    package(BOARD, folder, tmp_path / "again.tar.gz")
    assert (tmp_path / "again.tar.gz").read_bytes() == archive.read_bytes()


def test_install_on_a_board_with_numpy_alone(unpacked: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python3"
    (site,) = (tmp_path / "venv" / "lib").glob("python*/site-packages")
    for path in Path(np.__file__).parents[1].glob("numpy*"):
        (site / path.name).symlink_to(path)
    notebooks = tmp_path / "jupyter"
    notebooks.mkdir()
    for _ in range(2):  # again over itself
        ended = run("sh", unpacked / "install.sh", PYTHON=str(python), PYNQ_JUPYTER_NOTEBOOKS=str(notebooks))
        assert ended.returncode == 0, ended.stderr
        assert ended.stdout.splitlines()[-1].endswith("bnnedge selftest")
        assert f"notebooks in {notebooks}/bnnedge" in ended.stdout
    first = notebooks / "bnnedge" / "1-first-training.ipynb"
    first.write_text("mine")
    ended = run("sh", unpacked / "install.sh", PYTHON=str(python), PYNQ_JUPYTER_NOTEBOOKS=str(notebooks))
    assert ended.returncode == 0, ended.stderr
    assert f"{first} differs from the notebook that comes with bnnedge, and stays as it is" in ended.stderr
    assert first.read_text() == "mine"
    code = "from bnnedge.devices import bitstream, own_configuration; print(bitstream.find(own_configuration('pynq')).path)"
    assert run(python, "-I", "-c", code).stdout.strip() == f"{site}/bnnedge/{OVERLAY[0]}"
    ended = run(python.with_name("bnnedge"), "selftest", "--device", "golden")
    assert (ended.returncode, ended.stdout.splitlines()[-1]) == (0, "golden works")
    ended = run(python.with_name("bnnedge"), "selftest")
    assert ended.returncode == 1
    assert "FAILED  registers     device 'pynq' needs the Python module pynq" in ended.stdout


@pytest.mark.usefixtures("spared")
def test_install_without_a_bitstream(folder: Path, tmp_path: Path) -> None:
    made = tmp_path / "made"
    shutil.copytree(folder, made)
    (made / "bnnedge.bit").unlink()
    package(BOARD, made, tmp_path / "out.tar.gz")
    with tarfile.open(tmp_path / "out.tar.gz") as tar:
        tar.extractall(tmp_path)
    python = tmp_path / "python"  # which installs nothing
    python.write_text(f'#!/bin/sh\n[ "$1" != -I ] || echo {tmp_path}/installed\n')
    python.chmod(0o755)
    ended = run("sh", tmp_path / "bnnedge-pynq-z2" / "install.sh", PYTHON=str(python))
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines()[-1] == (
        "bnnedge is installed, but the archive has no bitstream of sim-small: build one with bnnedge bitstream, and package it"
    )
    assert not (tmp_path / "installed").exists()


@pytest.mark.parametrize("name", [WHEEL, OVERLAY[0]])
def test_a_damaged_archive_installs_nothing(unpacked: Path, name: str) -> None:
    with open(unpacked / name, "ab") as file:
        file.write(b"\0")
    ended = run("sh", unpacked / "install.sh", PYTHON="false")
    assert ended.returncode == 1
    assert ended.stderr.endswith("install.sh: these files are not whole: copy the archive again, and unpack it\n")


def test_a_machine_without_pynq_s_python_is_refused(unpacked: Path) -> None:
    ended = run("sh", unpacked / "install.sh")
    assert ended.returncode == 1
    assert "/usr/local/share/pynq-venv/bin/python3 does not run: is this a PYNQ image, 3.0 or later?" in ended.stderr


@pytest.mark.usefixtures("spared")
def test_without_a_bitstream(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(folder, tmp_path / "made")
    (tmp_path / "made" / "bnnedge.bit").unlink()
    out = tmp_path / "new" / "out.tar.gz"
    assert main(["package", "--board", "pynq-z2", "--from", str(tmp_path / "made"), "--out", str(out)]) == 0
    printed = capsys.readouterr()
    assert printed.out.splitlines() == [WHEEL, "install.sh", *OVERLAY[1:], "SHA256SUMS", str(out)]
    assert printed.err.startswith("bnnedge: no bnnedge.bit: run bnnedge bitstream --board pynq-z2, and package again")


@pytest.mark.usefixtures("spared")
def test_the_folder_of_generate_is_the_default(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = ["package", "--board", "pynq-z2", "--config", "sim-small"]
    assert main(arguments) == 1
    message = "there is no build/pynq-z2/sim-small/manifest.json: run bnnedge bitstream (or generate) --board pynq-z2 before"
    assert message in capsys.readouterr().err
    shutil.copytree(folder, "build/pynq-z2/sim-small")
    assert main(arguments) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "build/pynq-z2/bnnedge-sim-small.tar.gz"


@pytest.mark.usefixtures("spared")
def test_what_does_not_fit_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(PackageError, match="is for TUL PYNQ-Z2, not for Digilent PYNQ-Z1: package it with --board pynq-z2"):
        package(BOARDS["pynq-z1"], folder, tmp_path / "out.tar.gz")
    shutil.copytree(folder, tmp_path / "mixed")
    (tmp_path / "mixed" / "bnnedge.hwh").write_text("of another build")
    with pytest.raises(DeviceError, match=r"bnnedge\.hwh is not the file that manifest.json describes"):
        package(BOARD, tmp_path / "mixed", tmp_path / "out.tar.gz")
    assert not (tmp_path / "out.tar.gz").exists()


def test_without_the_source_tree_there_is_no_wheel(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packaging, "TREE", tmp_path)
    with pytest.raises(PackageError, match=r"built from the source tree, and .* is none \(it lacks boards, host, .*clone"):
        package(BOARD, folder, tmp_path / "out.tar.gz")


def test_a_wheel_that_cannot_be_built_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho no module named pip >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(broken))
    with pytest.raises(PackageError, match=r"pip built no wheel \(exit status 1\):\nno module named pip"):
        packaging.wheel(tmp_path)
