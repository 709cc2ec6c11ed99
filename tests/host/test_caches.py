"""Where caches are, for accounts of all kinds."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from bnnedge import caches


@pytest.fixture(autouse=True)
def plain_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An account with a home that can be written to, and no variables."""
    for name in ("BNNEDGE_CACHE", "XDG_CACHE_HOME", "YOWASP_CACHE_DIR", "MPLCONFIGDIR", "CCACHE_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))


@pytest.fixture
def read_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing can be written but temporary folders (which of root no permissions say)."""
    monkeypatch.setattr(caches, "_writable", lambda folder: str(folder).startswith(tempfile.gettempdir()))


def test_usual_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert caches.cache_folder() == tmp_path / "home/.cache/bnnedge"
    assert caches.tools() == {}
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "x y"))
    assert caches.cache_folder() == caches.user_folder() == tmp_path / "x y/bnnedge"
    assert caches.tools() == {}


def test_a_chosen_place_is_that_of_the_tools_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BNNEDGE_CACHE", str(tmp_path / "our own"))
    monkeypatch.setenv("MPLCONFIGDIR", "/elsewhere")
    tools = tmp_path / "our own/tools"
    given = {"XDG_CACHE_HOME": str(tools), "YOWASP_CACHE_DIR": str(tools / "yowasp"), "CCACHE_DIR": str(tools / "ccache")}
    assert caches.tools() == given
    with caches.followed():
        assert given.items() <= os.environ.items()
        assert caches.cache_folder() == tmp_path / "our own"
    assert "XDG_CACHE_HOME" not in os.environ
    with caches.followed("CCACHE_DIR"):
        assert os.environ["CCACHE_DIR"] == given["CCACHE_DIR"]
        assert caches.user_folder() == tmp_path / "home/.cache/bnnedge"  # where data sets are
    assert caches.user_folder() == tmp_path / "home/.cache/bnnedge"


def test_home_and_relative_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BNNEDGE_CACHE", "~/c")
    assert caches.cache_folder() == tmp_path / "home/c"
    monkeypatch.setenv("BNNEDGE_CACHE", "c")
    assert caches.cache_folder() == tmp_path / "c"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # which the standard says to ignore
    assert caches.user_folder() == tmp_path / "home/.cache/bnnedge"


@pytest.mark.usefixtures("read_only")
def test_an_account_that_can_write_nowhere(tmp_path: Path) -> None:
    folder = tmp_path / f"tmp/bnnedge-{os.getuid()}"
    assert caches.cache_folder() == folder
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert caches.tools()["XDG_CACHE_HOME"] == str(folder / "tools")


def test_an_account_without_name_and_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOME")
    monkeypatch.setattr("pwd.getpwuid", lambda uid: {}[uid])
    assert caches.home() is None
    assert caches.cache_folder() == tmp_path / f"tmp/bnnedge-{os.getuid()}"


@pytest.mark.usefixtures("read_only")
@pytest.mark.parametrize("laid", ["link", "open"])
def test_a_strangers_folder_is_not_taken(tmp_path: Path, laid: str) -> None:
    folder = tmp_path / f"tmp/bnnedge-{os.getuid()}"
    if laid == "link":
        folder.symlink_to(tmp_path)
    else:
        folder.mkdir()
        folder.chmod(0o777)
    with pytest.raises(PermissionError, match="this account alone can write to: set BNNEDGE_CACHE"):
        caches.cache_folder()


@pytest.mark.parametrize("name", ["a b", "it's", "ä", "$HOME", "a#b", "a&b", "(a)", "a\nb"])
def test_plain_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    odd = tmp_path / name
    odd.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(odd))
    assert not caches.is_plain(odd)
    assert caches.is_plain(caches.plain_folder())
    monkeypatch.setattr(caches, "_writable", lambda folder: folder == odd)
    with pytest.raises(OSError, match="set TMPDIR to one without spaces"):
        caches.plain_folder()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_another_user_indeed(tmp_path: Path) -> None:
    program = (  # what it needs is imported before: another user may not be able to read this Python
        "import os, tempfile, pwd; from bnnedge import caches, data; from bnnedge.data import sources;"
        "os.setgid(64321); os.setuid(64321); os.environ.pop('HOME', None);"
        "print(caches.cache_folder()); print(sources.find('mnist'))"
    )
    with tempfile.TemporaryDirectory(dir="/tmp") as place:
        os.chmod(place, 0o777)
        environment = {**os.environ, "TMPDIR": place}
        told = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    assert told.stdout.startswith(f"{place}/bnnedge-64321\n"), told.stderr
