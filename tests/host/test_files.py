"""Files written whole or not at all: beside others, over others, through links, into what is no file, after a kill."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from bnnedge.files import alone, atomic, make_folder

# Begins to write the file of its argument, says so, and waits to be killed or told to go on.
WRITER = """
import sys
from bnnedge.files import atomic
with atomic(sys.argv[1]) as file:
    file.write(b"half")
    file.flush()
    print("begun", flush=True)
    sys.stdin.readline()
    file.write(b" and half")
"""


def write(path: Path, content: bytes = b"new") -> None:
    with atomic(path) as file:
        file.write(content)


def begun(path: Path) -> subprocess.Popen[str]:
    """A process that is in the middle of a save."""
    process = subprocess.Popen([sys.executable, "-c", WRITER, path], text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    return process


def kill(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.communicate()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_makes_folders_and_keeps_the_last_after_a_failure(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "file"
    write(path, b"old")
    with pytest.raises(KeyboardInterrupt), atomic(path) as file:
        file.write(b"half")
        raise KeyboardInterrupt
    assert path.read_bytes() == b"old"
    assert names(path.parent) == ["file"]


def test_what_a_killed_save_left_goes_with_the_next(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.npz"
    write(path, b"old")
    for _ in range(2):
        kill(begun(path))
    left = names(tmp_path)
    assert len(left) == 2, "the second one removed what the first one left"
    assert path.read_bytes() == b"old"
    write(path)
    assert names(tmp_path) == ["checkpoint.npz"]
    assert path.read_bytes() == b"new"


def test_what_an_earlier_version_left_goes_too(tmp_path: Path) -> None:
    (tmp_path / ".checkpoint.npz.12345.tmp").write_bytes(b"half")
    write(tmp_path / "checkpoint.npz")
    assert names(tmp_path) == ["checkpoint.npz"]


def test_a_save_that_goes_on_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.npz"
    other = begun(path)
    write(path)
    assert len(names(tmp_path)) == 2
    assert path.read_bytes() == b"new"
    other.communicate("\n")
    assert other.returncode == 0
    assert names(tmp_path) == ["checkpoint.npz"]
    assert path.read_bytes() == b"half and half"


def test_files_of_similar_names_stay(tmp_path: Path) -> None:
    others = [".file", ".file.tmp", ".file.notes.tmp", ".file.x.12345.tmp", "file.12345.tmp", ".another.12345.tmp"]
    for name in others:
        (tmp_path / name).touch()
    (tmp_path / ".file.1.tmp").mkdir()
    os.mkfifo(tmp_path / ".file.2.tmp")
    (tmp_path / ".file.3.tmp").symlink_to(".file")
    write(tmp_path / "file")
    assert names(tmp_path) == sorted([*others, ".file.1.tmp", ".file.2.tmp", ".file.3.tmp", "file"])


@pytest.mark.parametrize("name", ["x" * 255, "é" * 127])
def test_long_names(tmp_path: Path, name: str) -> None:
    write(tmp_path / name, b"old")
    kill(begun(tmp_path / name))
    assert len(names(tmp_path)) == 2
    write(tmp_path / name)
    assert names(tmp_path) == [name]


def test_many_savers_at_once(tmp_path: Path) -> None:
    path, failures = tmp_path / "file", []

    def save(number: int) -> None:
        try:
            for _ in range(20):
                write(path, bytes([number]) * 5000)
        except OSError as error:
            failures.append(error)

    threads = [threading.Thread(target=save, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert names(tmp_path) == ["file"]
    content = path.read_bytes()
    assert content == content[:1] * 5000


@pytest.mark.parametrize("target", ["there/target", "new/target"])
def test_links_stay_links(tmp_path: Path, target: str) -> None:
    """Also one that leads to nothing yet."""
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "target").write_bytes(b"old")
    (tmp_path / "first").symlink_to("second")
    (tmp_path / "second").symlink_to(tmp_path / target)
    write(tmp_path / "first")
    assert (tmp_path / "first").is_symlink()
    assert (tmp_path / "second").is_symlink()
    assert not (tmp_path / target).is_symlink()
    assert (tmp_path / target).read_bytes() == b"new"
    assert names((tmp_path / target).parent) == ["target"]


def test_links_in_a_circle(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(OSError, match="Too many levels of symbolic links") as caught:
        write(tmp_path / "a")
    assert caught.value.filename == str(tmp_path / "a")
    assert names(tmp_path) == ["a", "b"]


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    for path in (tmp_path, tmp_path / "link"):
        with pytest.raises(IsADirectoryError, match="is a folder; give the name of a file"):
            write(path)


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for place in (lambda: make_folder(tmp_path / "file"), lambda: write(tmp_path / "file" / "below" / "it")):
        with pytest.raises(NotADirectoryError, match="Not a directory; give another place"):
            place()


def test_links_to_folders(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("a/b")
    assert make_folder(tmp_path / "link") == tmp_path / "link"
    write(tmp_path / "link" / "c" / "file")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "a" / "b" / "c" / "file").read_bytes() == b"new"
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(OSError, match=r"Not a directory|Too many levels"):
        make_folder(tmp_path / "loop")


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o755, 0o444])
def test_permissions_stay(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "file"
    path.touch()
    path.chmod(mode)
    write(path)
    assert stat.S_IMODE(path.stat().st_mode) == mode


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_the_owner_stays(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()
    os.chown(path, 1234, 2345)
    path.chmod(0o640)
    write(path)
    there = path.stat()
    assert (there.st_uid, there.st_gid, stat.S_IMODE(there.st_mode)) == (1234, 2345, 0o640)


def test_a_new_file_has_the_usual_permissions(tmp_path: Path) -> None:
    (tmp_path / "usual").touch()
    write(tmp_path / "file")
    assert (tmp_path / "file").stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_pipes_are_written_to(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    reader.start()
    write(pipe, b"content")
    reader.join()
    assert read == [b"content"]
    assert names(tmp_path) == ["pipe"]
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_what_fails_reaches_no_pipe(tmp_path: Path) -> None:
    """Nobody reads this one: the block's own error comes, and no wait for a reader."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(RuntimeError, match="wrong"), atomic(tmp_path / "pipe") as file:
        file.write(b"half")
        raise RuntimeError("wrong")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may make devices")
def test_devices_are_written_to(tmp_path: Path) -> None:
    null, link = tmp_path / "null", tmp_path / "link"
    try:
        os.mknod(null, stat.S_IFCHR | 0o666, os.makedev(1, 3))
        null.open("wb").close()
    except OSError:
        pytest.skip("no devices can be made here")
    link.symlink_to(null)
    for path in (null, link):
        write(path)
    assert stat.S_ISCHR(null.stat().st_mode)
    assert names(tmp_path) == ["link", "null"]


def test_the_device_that_is_full_is_named() -> None:
    with pytest.raises(OSError, match="No space left on device: '/dev/full'"):
        write(Path("/dev/full"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(0o500)
    with pytest.raises(PermissionError) as caught:
        write(tmp_path / "closed" / "file")
    assert caught.value.filename == str(tmp_path / "closed" / "file")


def test_a_folder_for_one_process_alone(tmp_path: Path) -> None:
    place = tmp_path / "new" / "folder"
    with alone(place, "taken"):
        with pytest.raises(ValueError, match=r"/new/folder: taken$"), alone(place, "taken"):
            pass
        with alone(tmp_path / "other", "taken"):
            write(place / "file")
    with pytest.raises(RuntimeError), alone(place, "taken"):
        raise RuntimeError
    with alone(place, "taken"):
        assert names(place) == ["file"]


def test_a_file_system_without_locks_keeps_nobody_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    with alone(tmp_path, "taken"), alone(tmp_path, "taken"):
        pass


PRINTER = "from bnnedge.files import atomic\nprint('before')\nwith atomic({!r}) as f: f.write(b'content\\n')\nprint('behind')"


@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"])
@pytest.mark.parametrize("kind", ["pipe", "file", "appended"])
def test_standard_output(tmp_path: Path, name: str, kind: str) -> None:
    """In its place between what is printed, whatever it is; a file that the shell opened stays the same file."""
    command, out = [sys.executable, "-c", PRINTER.format(name)], tmp_path / "out"
    out.write_text("first\n" if kind == "appended" else "")
    before = out.stat().st_ino
    if kind == "pipe":
        text = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    else:
        with open(out, "a" if kind == "appended" else "w") as file:
            subprocess.run(command, check=True, stdout=file)
        text = out.read_text().removeprefix("first\n")
        assert out.stat().st_ino == before
        assert out.read_text().startswith("first\n") == (kind == "appended")
    assert text == "before\ncontent\nbehind\n"


# Calls that write files; what has one, and why it may.
WRITES = re.compile(
    r"""open\([^()]*["'][wax]b?["']|write_text\(|write_bytes\(|os\.replace\(|copyfile\(|savefig\((?!file)"""
    r"|np\.savez?\((?!file|content|'mine)"
)
ELSEWHERE = {
    "host/files.py": "this is how",
    "host/importer/kerasfile.py": "a copy with a suffix that Keras knows, in a temporary folder",
    "host/data/download.py": "goes on with what an interrupted download left",
    "sim/benches/build.py": "the cache of compiled simulations",
    "sim/verilated/build.py": "the cache of compiled simulations",
    "boards/yosys.py": "the log of a tool, to be read as it grows",
    "boards/flows/flow.py": "the log of a tool, to be read as it grows",
    "boards/package.py": "a copy of the sources, in a temporary folder",
    "boards/synthesis.py": "the design for Yosys, in a temporary folder",
}


def test_nothing_else_writes_files() -> None:
    root = Path(__file__).parents[2]
    sources = [path for folder in ("host", "hw", "sim", "boards") for path in (root / folder).rglob("*.py")]
    found = {str(path.relative_to(root)) for path in sources if WRITES.search(path.read_text())}
    assert found == set(ELSEWHERE), "write through bnnedge.files.atomic"
