"""Where things are kept that can be made again: ours, and those of the tools that we start."""

from __future__ import annotations

import contextlib
import os
import re
import stat
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

VARIABLE = "BNNEDGE_CACHE"
# Of tools that keep something: the variable that says where, and a folder's name for it. XDG_CACHE_HOME: wasmtime and others.
_TOOLS = {"XDG_CACHE_HOME": "", "YOWASP_CACHE_DIR": "yowasp", "MPLCONFIGDIR": "matplotlib", "CCACHE_DIR": "ccache"}


def home() -> Path | None:
    """The user's home; None for an account without one."""
    try:
        return Path.home()
    except RuntimeError:  # neither HOME nor an entry in the list of users
        return None


def user_folder() -> Path:
    """``bnnedge`` in $XDG_CACHE_HOME, or in .cache of the home; for an account that can write to neither, a temporary folder."""
    base = _base()
    return base / "bnnedge" if base else _temporary()


def cache_folder() -> Path:
    """Where simulators are kept: ``$BNNEDGE_CACHE``, or `user_folder`."""
    chosen = os.environ.get(VARIABLE)
    return Path(os.path.expanduser(chosen)).absolute() if chosen else user_folder()


def tools() -> dict[str, str]:
    """Environment variables with which the tools that we start keep their caches in ours.

    None if the user's own cache folder will do and $BNNEDGE_CACHE is not set; none that the user has set.
    """
    usual = _base()
    if usual and not os.environ.get(VARIABLE):
        return {}
    folder = cache_folder() / "tools"
    kept = {name for name in _TOOLS if os.environ.get(name) and (name != "XDG_CACHE_HOME" or usual)}
    return {name: str(folder / place) for name, place in _TOOLS.items() if name not in kept}


@contextlib.contextmanager
def followed(*names: str) -> Iterator[None]:
    """Let what is started or imported meanwhile see the variables of `tools`, or those of these names alone."""
    with environment({name: value for name, value in tools().items() if name in names or not names}):
        yield


@contextlib.contextmanager
def environment(given: Mapping[str, str]) -> Iterator[None]:
    """Let what is started or imported meanwhile see these environment variables, and put back what was."""
    before = {name: os.environ.get(name) for name in given}
    os.environ.update(given)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _base() -> Path | None:
    """The folder of the user's caches; None if there is none, and none can be made."""
    own = home()
    given = os.environ.get("XDG_CACHE_HOME")
    base = Path(given) if given and Path(given).is_absolute() else own / ".cache" if own else None
    return base if base and _writable(base) else None


def _writable(folder: Path) -> bool:
    """Whether files can be made in a folder, which may have to be made itself."""
    there = next((place for place in (folder, *folder.parents) if os.path.lexists(place)), folder)
    return there.is_dir() and os.access(there, os.W_OK | os.X_OK)


def _temporary() -> Path:
    """A folder of this account's own among the temporary ones; OSError if somebody else has laid one there."""
    folder = Path(tempfile.gettempdir()) / f"bnnedge-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
        # What lies in it would be run.
        raise PermissionError(f"{folder} is not a folder that this account alone can write to: set {VARIABLE} to one")
    return folder


def plain_folder() -> Path:
    """A folder for temporary ones whose path holds nothing that makefiles and scripts of tools take for something else.

    OSError if there is none that can be written to.
    """
    places = [Path(tempfile.gettempdir()), *map(Path, ("/tmp", "/var/tmp", "/dev/shm"))]
    for place in places:
        if is_plain(place) and place.is_dir() and _writable(place):
            return place
    raise OSError(f"no temporary folder will do: {', '.join(map(str, places))}: set TMPDIR to one without spaces and the like")


def is_plain(path: Path) -> bool:
    """Whether a path is made of letters, digits and `._+-` alone."""
    return bool(re.fullmatch(r"[\w./+-]+", str(path), re.ASCII))
