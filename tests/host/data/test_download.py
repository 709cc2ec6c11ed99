"""Downloads from a server on this machine: whole, broken off, resumed, damaged; what is not right never becomes the data."""

import collections
import gzip
import hashlib
import http.server
import io
import os
import pathlib
import shutil
import struct
import sys
import tarfile
import threading

import numpy as np
import pytest
from matlab import header, matrix, packed

from bnnedge.cli import main
from bnnedge.data import DataError, download, load, places
from bnnedge.terminal import guarded

# Sets made up here are not the published ones.
pytestmark = pytest.mark.filterwarnings("ignore:.*as published:bnnedge.data.DataWarning")

Usage = collections.namedtuple("Usage", "total used free")


def idx(array):
    return gzip.compress(struct.pack(f">2xBB{array.ndim}I", 8, array.ndim, *array.shape) + array.tobytes(), mtime=0)


def mnist():
    """Four small files by name."""
    random = np.random.RandomState(5)
    files = {}
    for part, count in (("train", 96), ("t10k", 20)):
        files[f"{part}-images-idx3-ubyte.gz"] = idx(random.randint(0, 256, (count, 8, 8)).astype(np.uint8))
        files[f"{part}-labels-idx1-ubyte.gz"] = idx((np.arange(count) % 10).astype(np.uint8))
    return files


def cifar():
    """The archive of the binary version, with two images a file."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name in ("readme.html", *(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"):
            octets = b"text" if name == "readme.html" else bytes([1]) + bytes([200]) * 3072 + bytes([9]) + bytes(3072)
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            member.size = len(octets)
            archive.addfile(member, io.BytesIO(octets))
    return {"cifar-10-binary.tar.gz": buffer.getvalue()}


class Server(http.server.ThreadingHTTPServer):
    """Serves `files`. `limits`: bytes after which the next connections break; `ranges`: whether it can send a rest."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.limits, self.ranges, self.asked = {}, [], True, []

    def handle_error(self, request, address):
        # A client that goes before all is sent.
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, address)

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        name, wanted = self.path.strip("/"), self.headers.get("Range")
        self.server.asked.append((name, wanted))
        if name not in self.server.files:
            self.send_error(404)
            return
        data, start = self.server.files[name], 0
        if wanted and self.server.ranges:
            start = int(wanted[len("bytes=") : -1])
            if start >= len(data):
                self.send_error(416)
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        limit = self.server.limits.pop(0) if self.server.limits else len(data)
        self.wfile.write(data[start : start + limit])

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A mirror of small files in place of the true ones; nothing else is found, and downloads go to tmp_path/store."""
    for name in ("XDG_CACHE_HOME", "KERAS_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("BNNEDGE_DATA", str(tmp_path / "store"))
    monkeypatch.setattr(pathlib.Path, "home", lambda: tmp_path / "home")
    monkeypatch.setattr(places, "_SYSTEM", tmp_path / "none")
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    with Server() as running:
        publish(monkeypatch, running, "mnist", mnist())
        publish(monkeypatch, running, "cifar10", cifar())
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def publish(monkeypatch, server, name, files, mirrors=None):
    server.files.update(files)
    known = [
        download.File(file, len(data), hashlib.sha256(data).hexdigest(), mirrors or (server.url,)) for file, data in files.items()
    ]
    monkeypatch.setitem(download.FILES, name, tuple(known))


def only(monkeypatch, server, data, **options):
    """Publish CIFAR-10's name for a file of any content; return what fetches it, and its place."""
    publish(monkeypatch, server, "cifar10", {"file": data}, **options)
    folder = pathlib.Path("fetched")
    return lambda: download.fetch("cifar10", folder), folder / "file"


LONG = bytes(range(256)) * 4000


def test_published_files():
    """What torchvision, Keras and the sets' authors publish is what the tables say."""
    assert {name: [(file.name, file.size) for file in files] for name, files in download.FILES.items()} == {
        "mnist": [
            ("train-images-idx3-ubyte.gz", 9912422),
            ("train-labels-idx1-ubyte.gz", 28881),
            ("t10k-images-idx3-ubyte.gz", 1648877),
            ("t10k-labels-idx1-ubyte.gz", 4542),
        ],
        "fashion-mnist": [
            ("train-images-idx3-ubyte.gz", 26421880),
            ("train-labels-idx1-ubyte.gz", 29515),
            ("t10k-images-idx3-ubyte.gz", 4422102),
            ("t10k-labels-idx1-ubyte.gz", 5148),
        ],
        "cifar10": [("cifar-10-binary.tar.gz", 170052171)],
        "svhn": [("train_32x32.mat", 182040794), ("test_32x32.mat", 64275384)],
    }
    every = [file for files in download.FILES.values() for file in files]
    assert all(len(bytes.fromhex(file.sha256)) == 32 for file in every)
    assert len({file.sha256 for file in every}) == len(every)
    assert set(download.FILES) == set(places.NAMES)


class TestLoad:
    def test_not_unless_asked(self, server):
        with pytest.raises(DataError, match=r"mnist was not found.*To get it: ask for the download \(--download"):
            try:
                load("mnist")
            except DataError as error:
                raise DataError(str(error).replace("\n", " ")) from None
        assert server.asked == []

    def test_into_the_given_folder(self, server, tmp_path, capsys):
        data = load("mnist", download=True)
        assert (data.name, data.classes, data.x_train.shape, data.x_test.shape) == ("mnist", 10, (96, 8, 8), (20, 8, 8))
        assert sorted(os.listdir(tmp_path / "store/mnist")) == sorted(mnist())
        assert "downloading mnist: t10k-labels-idx1-ubyte.gz, " in capsys.readouterr().err
        asked = len(server.asked)
        assert (load("mnist").x_train == data.x_train).all()
        load("mnist", download=True)
        assert len(server.asked) == asked == 4

    @pytest.mark.parametrize(
        ("variable", "place"), [(None, "home/.cache/bnnedge/mnist"), ("XDG_CACHE_HOME", "caches/bnnedge/mnist")]
    )
    def test_into_the_cache(self, server, tmp_path, monkeypatch, variable, place):
        monkeypatch.delenv("BNNEDGE_DATA")
        if variable:
            monkeypatch.setenv(variable, str(tmp_path / "caches"))
        load("mnist", download=True)
        assert sorted(os.listdir(tmp_path / place)) == sorted(mnist())
        assert load("mnist").x_train.shape == (96, 8, 8)

    def test_what_was_begun_is_completed(self, server, tmp_path):
        (tmp_path / "store/mnist").mkdir(parents=True)
        names = list(mnist())
        (tmp_path / "store/mnist" / names[0]).write_bytes(mnist()[names[0]])
        (tmp_path / "store/mnist" / names[1]).write_bytes(b"something else")
        with pytest.raises(DataError, match=r"mnist: no t10k-images-idx3-ubyte, t10k-labels"):
            load("mnist")
        load("mnist", download=True)
        assert [name for name, _ in server.asked] == names[1:]

    def test_archive(self, server, tmp_path):
        data = load("cifar10", download=True)
        assert data.x_train.shape == (10, 32, 32, 3)
        assert data.y_test.tolist() == [1, 9]
        assert os.listdir(tmp_path / "store/cifar10") == ["cifar-10-binary.tar.gz"]
        assert load("cifar10").classes == 10

    def test_matlab_files(self, server, monkeypatch, tmp_path):
        images = np.random.RandomState(5).randint(0, 256, (32, 32, 3, 12)).astype(np.uint8)
        labels = (np.arange(12) % 10 + 1).astype(np.uint8)[:, None]
        content = header() + packed(matrix("X", images)) + packed(matrix("y", labels))
        names = ["test_32x32.mat", "train_32x32.mat"]
        publish(monkeypatch, server, "svhn", dict.fromkeys(names, content))
        data = load("svhn", download=True)
        assert (data.x_test == np.moveaxis(images, -1, 0)).all()
        assert data.y_train.tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1, 2]
        assert sorted(os.listdir(tmp_path / "store/svhn")) == names
        (tmp_path / "store/svhn/train_32x32.mat").write_bytes(content[:-1])
        load("svhn", download=True)
        assert [name for name, _ in server.asked] == [*names, names[1]]

    def test_nothing_to_download(self, server):
        assert load("digits", download=True).name == "digits"
        with pytest.raises(DataError, match=r"'own.npz' cannot be downloaded: only mnist, fashion-mnist, cifar10, svhn can$"):
            load("own.npz", download=True)
        assert server.asked == []

    def test_command(self, server, tmp_path, capsys):
        arguments = ["train", "--device", "golden", "--data", "mnist", "--batch", "64", "--steps", "1", "--network", "digits"]
        assert main([*arguments, "--out", str(tmp_path / "run")]) == 1
        assert "mnist was not found" in capsys.readouterr().err
        assert main([*arguments, "--out", str(tmp_path / "run"), "--download"]) == 0
        assert "data mnist: 96 training and 20 test images" in capsys.readouterr().out


class TestResume:
    def test_connection_that_breaks(self, server, monkeypatch):
        """It is asked for the rest at once."""
        fetch, target = only(monkeypatch, server, LONG)
        server.limits = [400_000, 300_000]
        fetch()
        assert target.read_bytes() == LONG
        assert os.listdir(target.parent) == ["file"]
        assert [wanted for _, wanted in server.asked] == [None, "bytes=400000-", "bytes=700000-"]

    def test_mirror_that_never_gets_far(self, server, monkeypatch):
        fetch, target = only(monkeypatch, server, LONG)
        server.limits = [400_000, 0]
        with pytest.raises(DataError) as caught:
            fetch()
        text = str(caught.value)
        assert text.startswith(f"cifar10 could not be downloaded: file: {server.url}file: broke off after 400,000 of 1,024,000")
        assert text.endswith("400,000 of 1,024,000 bytes are kept in fetched/file.part, and the next try goes on from there")
        assert os.listdir(target.parent) == ["file.part"]
        fetch()
        assert target.read_bytes() == LONG
        assert server.asked[-1] == ("file", "bytes=400000-")

    def test_server_without_ranges(self, server, monkeypatch):
        fetch, target = only(monkeypatch, server, LONG)
        server.ranges, server.limits = False, [400_000]
        fetch()
        assert target.read_bytes() == LONG
        assert [wanted for _, wanted in server.asked] == [None, "bytes=400000-"]

    def test_server_without_ranges_that_breaks_again(self, server, monkeypatch):
        fetch, target = only(monkeypatch, server, LONG)
        server.ranges, server.limits = False, [400_000, 400_000]
        with pytest.raises(DataError, match="broke off after 400,000 of 1,024,000 bytes"):
            fetch()
        assert os.listdir(target.parent) == ["file.part"]

    def test_server_that_sends_another_range(self, server, monkeypatch):
        fetch, target = only(monkeypatch, server, LONG)
        target.parent.mkdir()
        target.with_name("file.part").write_bytes(LONG[:1000])
        send = Handler.send_header
        replaced = {"Content-Range": "bytes 0-9/10"}
        monkeypatch.setattr(Handler, "send_header", lambda self, name, value: send(self, name, replaced.get(name, value)))
        with pytest.raises(DataError, match=r"the server sends bytes 0-9/10 instead of bytes from 1000 on"):
            fetch()
        assert target.with_name("file.part").read_bytes() == LONG[:1000]

    @pytest.mark.parametrize("part", [b"wrong", LONG[:-1] + b"?", LONG + b"more", LONG[:-1]])
    def test_from_what_is_there(self, server, monkeypatch, part):
        """A wrong beginning, or one that is too long, does no harm."""
        fetch, target = only(monkeypatch, server, LONG)
        target.parent.mkdir()
        target.with_name("file.part").write_bytes(part)
        fetch()
        assert target.read_bytes() == LONG

    def test_complete_part(self, server, monkeypatch):
        fetch, target = only(monkeypatch, server, LONG)
        target.parent.mkdir()
        target.with_name("file.part").write_bytes(LONG)
        fetch()
        assert (target.read_bytes(), server.asked) == (LONG, [])

    def test_range_that_the_server_has_not(self, server, monkeypatch):
        """Its file is shorter than the published one."""
        fetch, target = only(monkeypatch, server, LONG)
        server.files["file"] = LONG[:1000]
        target.parent.mkdir()
        target.with_name("file.part").write_bytes(LONG[:2000])
        with pytest.raises(DataError, match="broke off after 1,000 of 1,024,000 bytes"):
            fetch()
        assert not target.exists()


class TestFailure:
    @pytest.mark.parametrize("sent", [LONG[:-1] + b"?", LONG + b"more"])
    def test_wrong_content(self, server, monkeypatch, sent):
        fetch, target = only(monkeypatch, server, LONG)
        server.files["file"] = sent
        with pytest.raises(DataError, match=r"file: not the published file: its SHA-256 differs; it has been deleted$"):
            fetch()
        assert os.listdir(target.parent) == []

    def test_next_mirror(self, server, monkeypatch):
        fetch, target = only(monkeypatch, server, LONG, mirrors=(f"{server.url}gone/", server.url))
        fetch()
        assert target.read_bytes() == LONG

    def test_next_mirror_goes_on(self, server, monkeypatch):
        fetch, target = only(monkeypatch, server, LONG, mirrors=(server.url, f"{server.url}/"))
        server.limits = [400_000, 0]
        fetch()
        assert target.read_bytes() == LONG
        assert server.asked[-1][1] == "bytes=400000-"

    def test_no_mirror(self, server, monkeypatch):
        closed = Server()
        closed.server_close()
        fetch, _ = only(monkeypatch, server, LONG, mirrors=(f"{server.url}gone/", closed.url))
        with pytest.raises(DataError, match=r"gone/file: the server answers 404 Not Found; .*/file: no connection: .*refused"):
            fetch()

    def test_no_room(self, server, monkeypatch):
        fetch, target = only(monkeypatch, server, LONG)
        monkeypatch.setattr(shutil, "disk_usage", lambda folder: Usage(2000000, 1000000, 1000000))
        with pytest.raises(DataError, match=r"file: 1,024,000 bytes are to come, and fetched has room for 1,000,000; make room"):
            fetch()
        assert server.asked == []
        target.with_name("file.part").write_bytes(LONG[:100_000])
        fetch()

    def test_disk_that_fills_up(self, server, monkeypatch):
        fetch, target = only(monkeypatch, server, LONG)

        def full(response, file, size):
            file.write(response.read(1000))
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(download, "_copy", full)
        text = r"^cifar10 could not be downloaded into fetched: No space left on device; make room there, or set BNNEDGE_DATA"
        with pytest.raises(DataError, match=text):
            fetch()
        assert os.listdir(target.parent) == ["file.part"]
        monkeypatch.undo()

    def test_folder_that_cannot_be_made(self, server):
        pathlib.Path("file").write_text("text")
        with pytest.raises(DataError, match=r"^mnist could not be downloaded into file/mnist: Not a directory; make room"):
            download.fetch("mnist", pathlib.Path("file/mnist"))

    def test_interrupt_keeps_what_has_come(self, server, monkeypatch):
        fetch, target = only(monkeypatch, server, LONG)
        copy = download._copy

        def interrupted(response, file, size):
            file.write(response.read(1000))
            raise KeyboardInterrupt

        monkeypatch.setattr(download, "_copy", interrupted)
        with pytest.raises(KeyboardInterrupt):
            fetch()
        monkeypatch.setattr(download, "_copy", copy)
        fetch()
        assert target.read_bytes() == LONG
        assert server.asked[-1] == ("file", "bytes=1000-")


def test_progress_on_a_terminal(server, monkeypatch, capsys):
    fetch, _ = only(monkeypatch, server, LONG)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with guarded():  # as commands run
        fetch()
    lines = capsys.readouterr().err.split("\r")
    assert lines[0] == "downloading cifar10: file, 1,024,000 bytes, into fetched\n"
    assert lines[-1] == "100 %\n"
