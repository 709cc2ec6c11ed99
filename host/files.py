"""Files that are complete or absent: written beside their place and moved there. And the digest that tells one from others."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import io
import os
import re
import secrets
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

_LINKS = 40  # from one to the next, as many as Linux follows


@contextlib.contextmanager
def atomic(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a binary file that takes the place of `path` when the block ends without an exception.

    Until then, and for good if the block fails or the machine stops, an earlier file at `path` stays as it is. The new one
    gets its permissions. Links are followed. A device, a pipe or /dev/stdout is written to as the block ends. What saves
    of the same file left that were killed is removed.

    Raises
    ------
    OSError: there is a folder at `path`, or its folder, which is made if need be, cannot be written to
    """
    try:
        place = _followed(Path(path))
        try:
            there = os.stat(place)
        except (FileNotFoundError, NotADirectoryError):
            there = None
        if there is not None and stat.S_ISDIR(there.st_mode):
            raise IsADirectoryError(errno.EISDIR, "is a folder; give the name of a file", str(path))
        if _open_already(place) is not None or (there is not None and not stat.S_ISREG(there.st_mode)):
            content = io.BytesIO()
            yield content
            _write_to(place, content)
        else:
            make_folder(place.parent)
            with _replacing(place, there) as file:
                yield file
    except OSError as error:
        # Of the temporary file, or of none: the user knows the name that was asked for.
        if error.errno is not None and (error.filename is None or str(error.filename).endswith(".tmp")):
            error.filename, error.filename2 = str(path), None
        raise


def make_folder(path: str | os.PathLike[str]) -> Path:
    """Make a folder, and those that it lies in, unless it is there; OSError if it can't be, or if that is a file."""
    path = Path(path)
    try:
        Path(os.path.realpath(path)).mkdir(parents=True, exist_ok=True)  # which a link may lead to that leads to nothing yet
    except (FileExistsError, NotADirectoryError) as error:
        raise NotADirectoryError(errno.ENOTDIR, "Not a directory; give another place", str(path)) from error
    return path


@contextlib.contextmanager
def alone(folder: str | os.PathLike[str], taken: str) -> Iterator[None]:
    """Keep a folder, which is made if need be, for this process, as long as others ask, too; it leaves no file there.

    ValueError, with what `taken` says, if another one has it. File systems without locks keep nobody out.
    """
    while True:
        handle = os.open(make_folder(folder), os.O_RDONLY | os.O_CLOEXEC)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ValueError(f"{folder}: {taken}") from None
            except OSError as error:
                if error.errno not in (errno.EBADF, errno.ENOLCK, errno.ENOTSUP, errno.EINVAL):
                    raise
            if os.fstat(handle).st_nlink:  # else the process that had it before has removed it as it ended
                yield
                return
        finally:
            os.close(handle)


def remove(path: str | os.PathLike[str]) -> None:
    """Remove a file, if it is there, and what saves of it left that were killed. OSError if it can't be."""
    Path(path).unlink(missing_ok=True)
    _clean(Path(path))


def same_as_stdout(path: str | os.PathLike[str]) -> bool:
    """Whether what is written there comes out where `print` writes to."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(sys.__stdout__.fileno()))  # type: ignore[union-attr]
    except (OSError, ValueError, AttributeError):  # there is no such file; standard output is closed, or is no file
        return False


def sha256(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file of any size, as hexadecimal digits."""
    found = hashlib.sha256()
    with open(path, "rb") as file:
        while part := file.read(1 << 20):
            found.update(part)
    return found.hexdigest()


def _followed(path: Path) -> Path:
    """The place that links lead to; of those in /proc, which lead to open files, the link itself. OSError for a loop."""
    for _ in range(_LINKS):
        path = Path(os.path.realpath(path.parent), path.name)
        if path.is_relative_to("/proc") or not path.is_symlink():
            return path
        path = path.parent / os.readlink(path)
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))


def _open_already(place: Path) -> int | None:
    """The descriptor of this process that such a place stands for: that of /dev/stdout, say."""
    found = re.fullmatch(rf"/proc/(?:self|{os.getpid()})/(?:task/\d+/)?fd/(\d+)", str(place))
    return int(found[1]) if found else None


def _write_to(place: Path, content: io.BytesIO) -> None:
    """Write to a node, a pipe or an open file, which stays what it is."""
    descriptor = _open_already(place)
    if descriptor is not None:
        if sys.stdout:
            sys.stdout.flush()  # what was printed before comes before
        descriptor = os.dup(descriptor)
    with open(place if descriptor is None else descriptor, "wb") as file:
        file.write(content.getbuffer())


@contextlib.contextmanager
def _replacing(place: Path, there: os.stat_result | None) -> Iterator[BinaryIO]:
    """Open a file beside `place` that replaces the one there, if any, in the end."""
    _clean(place)
    with _temporary(place) as (temporary, file):
        try:
            yield file
            file.flush()
            if there is not None:
                _take_over(file.fileno(), there)
            os.fsync(file.fileno())
            os.replace(temporary, place)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    _sync_folder(place.parent)


@contextlib.contextmanager
def _temporary(place: Path) -> Iterator[tuple[Path, BinaryIO]]:
    """A new file beside `place`, locked as long as its process lives: so `_clean` knows one that was left."""
    while True:
        path = place.with_name(f".{_short(place)}.{secrets.token_hex(4)}.tmp")
        # No one else's file, nor a link that somebody laid here.
        with open(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666), "wb") as file:
            with contextlib.suppress(OSError):  # a file system without locks: `_clean` then removes nothing
                fcntl.flock(file, fcntl.LOCK_EX)
            if os.fstat(file.fileno()).st_nlink:  # else another save took it for one that was left, before it was locked
                yield path, file
                return


def _short(place: Path) -> str:
    """The name, cut so far that more can stand around it: names have 255 bytes at most."""
    return os.fsdecode(os.fsencode(place.name)[:200])


def _clean(place: Path) -> None:
    """Remove temporary files of saves of `place` whose processes are gone: their locks are free."""
    name = re.compile(rf"\.{re.escape(_short(place))}\.([0-9a-f]{{8}}|\d+)\.tmp")
    with contextlib.suppress(OSError):
        for path in [Path(entry.path) for entry in os.scandir(place.parent) if name.fullmatch(entry.name)]:
            with contextlib.suppress(OSError):  # in use, gone already, or another user's
                _remove_if_left(path)


def _remove_if_left(path: Path) -> None:
    """Remove a temporary file that no process has locked; OSError if one has."""
    # Without O_NONBLOCK a pipe of this name would stop us; locks on network file systems need O_RDWR.
    with open(os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            path.unlink()


def _take_over(descriptor: int, there: os.stat_result) -> None:
    """Give an open file the owner, if we may, and the permissions of another."""
    mode = stat.S_IMODE(there.st_mode)
    try:
        os.fchown(descriptor, there.st_uid, there.st_gid)
    except OSError:
        mode &= ~(stat.S_ISUID | stat.S_ISGID)  # they were another owner's
    with contextlib.suppress(OSError):  # file systems without permissions
        os.fchmod(descriptor, mode)


def _sync_folder(folder: Path) -> None:
    """Make the rename itself durable, where the file system can."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
