"""What runs on a board, with the Python of a 32-bit ARM system under qemu: there NumPy's integers are 32 bits wide.

The system is Debian's, unpacked into a folder: nothing is installed, and no architecture is added to this machine.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bnnedge.boards.package import wheel

pytestmark = pytest.mark.long
TESTS = Path(__file__).parents[1]
PACKAGES = "python3-minimal", "python3-numpy", "python3-pytest"
LIBRARIES = "usr/lib/arm-linux-gnueabihf"
FILES = (
    *("test_state.py", "test_selftest.py", "test_devices_golden.py", "test_trainer.py"),
    *("data/test_augment.py", "data/test_labels.py", "devices/test_bitstream.py", "compiler/test_program.py"),
)

Python = Callable[..., str]


def apt(folder: Path, *arguments: str, **options: object) -> None:
    """Run apt-get; skip the test if it fails, but for an update: of several sources one that is needed may have answered."""
    if not shutil.which("apt-get") or not shutil.which("dpkg"):
        pytest.skip("there is no apt-get here")
    given = [f"-o{name.replace('_', '::')}={value}" for name, value in options.items()]
    ended = subprocess.run(["apt-get", "-q", *given, *arguments], cwd=folder, text=True, capture_output=True)
    if ended.returncode and arguments[0] != "update":
        pytest.skip(f"apt-get {arguments[0]} failed: {ended.stderr.strip().splitlines()[-1]}")


def unpack(archives: Path, root: Path) -> None:
    for path in archives.glob("*.deb"):
        subprocess.run(["dpkg", "-x", path, root], check=True)


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Python]:
    """A function that runs that Python with arguments, and returns what it prints."""
    folder = tmp_path_factory.mktemp("armhf")
    emulator = shutil.which("qemu-arm-static") or shutil.which("qemu-arm")
    if not emulator:
        apt(folder, "download", "qemu-user-static")
        unpack(folder, folder / "qemu")
        emulator = str(folder / "qemu" / "usr" / "bin" / "qemu-arm-static")
    root = folder / "root"
    for part in ("state/lists/partial", "cache/archives/partial"):
        (folder / part).mkdir(parents=True)
    (folder / "state" / "status").touch()  # nothing is installed there
    own = {
        "APT_Architecture": "armhf",
        "APT_Architectures": "armhf",
        "APT_Sandbox_User": "",
        "Dir_State": folder / "state",
        "Dir_State_status": folder / "state" / "status",
        "Dir_Cache": folder / "cache",
    }
    apt(folder, "update", **own)
    apt(folder, "install", "--yes", "--download-only", "--no-install-recommends", *PACKAGES, **own)
    unpack(folder / "cache" / "archives", root)
    with zipfile.ZipFile(wheel(folder)) as packed:
        packed.extractall(folder / "site")
    libraries = [str(root / LIBRARIES / name) for name in ("blas", "lapack")]  # where installation would leave links
    environment = {
        "PATH": os.environ["PATH"],
        "QEMU_LD_PREFIX": str(root),
        "LD_LIBRARY_PATH": ":".join(libraries),
        "PYTHONPATH": str(folder / "site"),
        "PYTHONDONTWRITEBYTECODE": "1",
    }

    def run(*arguments: str | Path) -> str:
        command = [emulator, str(root / "usr" / "bin" / "python3"), *map(str, arguments)]
        ended = subprocess.run(command, cwd=folder, env=environment, text=True, capture_output=True)
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return ended.stdout

    yield run
    shutil.rmtree(folder)  # half a gigabyte


def test_it_is_a_32_bit_arm(python: Python) -> None:
    code = "import platform, numpy; print(platform.machine(), numpy.array([1]).dtype)"
    assert python("-c", code) == "armv7l int32\n"


def test_selftest(python: Python) -> None:
    assert python("-m", "bnnedge.cli", "selftest", "--device", "golden").endswith("golden works\n")


def test_the_board_s_part(python: Python, tmp_path: Path) -> None:
    settings = tmp_path / "pytest.ini"
    settings.write_text(
        f"[pytest]\npythonpath = {TESTS}\nmarkers = long\naddopts = --import-mode=importlib -p no:cacheprovider\n"
    )
    files = [TESTS / "host" / name for name in FILES]
    # The simulated accelerator is not for this processor, and a test of what is imported starts another Python.
    printed = python("-m", "pytest", "-q", "-c", settings, "--rootdir", TESTS, "-k", "not simulated and not light", *files)
    print(printed.splitlines()[-1])
