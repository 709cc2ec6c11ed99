"""What strangers' files and unusual places do to the commands: names that command a terminal, outputs that are no files."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bnnedge import checkpoint, cli
from bnnedge.network import Dense, Network

# Colours, a title, a return to the line's start, a line of its own, text from right to left, a C1 control, no width at all.
NAME = "a\x1b[31mred\x1b]0;title\x07\rb\nbnnedge: all is well\u202efdp\x9b2J\u200b"
SHOWN = r"a\x1b[31mred\x1b]0;title\x07\rb\nbnnedge: all is well\u202efdp\x9b2J\u200b"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose network and data set have such a name."""
    folder = tmp_path_factory.mktemp("source")
    random = np.random.RandomState(1)
    images = random.randint(0, 256, (200, 3, 3)).astype(np.uint8)
    labels = random.randint(0, 3, 200)
    np.savez(folder / f"{NAME}.npz", x_train=images, y_train=labels, x_test=images[:40], y_test=labels[:40])
    network = {"name": NAME, "input_shape": [3, 3], "layers": [{"dense": 16}, {"dense": 3}]}
    (folder / "network.json").write_text(json.dumps(network))
    return folder


@pytest.fixture(scope="module")
def run(source: Path) -> Path:
    options = ["--network", source / "network.json", "--data", source / f"{NAME}.npz", "--device", "golden", "--epochs", "1"]
    assert cli.main(["train", *map(str, options), "--batch", "64", "--out", str(source / "run")]) == 0
    return source / "run"


@pytest.fixture
def copy(run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(run, tmp_path / "run"))


def clean(text: str) -> bool:
    return not any(char in text for char in "\x1b\x07\r\u202e\x9b\u200b") and "\nbnnedge: all is well" not in text


def test_train(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--network", source / "network.json", "--data", source / f"{NAME}.npz", "--device", "golden", "--steps", "1"]
    assert cli.main(["train", *map(str, options), "--batch", "64", "--out", str(tmp_path)]) == 0
    output, error = capsys.readouterr()
    assert clean(output + error)
    assert f"network {SHOWN}: 9-16-3" in output
    assert f"data {SHOWN}: 200 training" in output


@pytest.mark.parametrize("command", ["report", "compare", "export", "tune", "estimate"])
def test_commands(command: str, source: Path, copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = copy / "report.json"
    report = json.loads(path.read_text())
    report |= dict.fromkeys(("device", "config"), NAME)
    report["settings"] |= {"schedule": NAME, NAME: NAME}
    report["versions"] |= {NAME: NAME}
    path.write_text(json.dumps(report))
    data, network = str(source / f"{NAME}.npz"), str(source / "network.json")
    words = {
        "report": [str(copy)],
        "compare": [str(copy), str(source / "run"), "--out", str(tmp_path / "compared.html")],
        "export": [str(copy / "checkpoint.npz"), "--format", "c"],
        "tune": ["--network", network, "--data", data, "--batch", "64", "--rates", "0.01", "--epochs", "1"],
        "estimate": ["--network", network, "--batch", "64"],
    }[command]
    assert cli.main([command, *words]) == 0
    output, error = capsys.readouterr()
    assert clean(output + error)
    for page in (*tmp_path.glob("*.html"), *copy.glob("*.html")):
        text = page.read_text()
        assert not any(char in text for char in "\x1b\x07\r\u202e\x9b\u200b")
        assert "a\\x1b[31mred" in text


def test_names_of_files_in_errors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["export", NAME, "--format", "c"], ["report", NAME], ["estimate", "--network", NAME], ["study", NAME]):
        assert cli.main([*words]) == 1
        output, error = capsys.readouterr()
        assert clean(output + error)
        assert error.count("\n") == 1
    with pytest.raises(SystemExit):
        cli.main(["train", "--steps", NAME])
    assert clean(capsys.readouterr().err)


def test_formulas_are_names_too(source: Path, tmp_path: Path) -> None:
    """A dollar sign begins a formula for what draws the curve."""
    network = {"name": r"$\frac{$ $x^$", "input_shape": [3, 3], "layers": [{"dense": 16}, {"dense": 3}]}
    (tmp_path / "network.json").write_text(json.dumps(network))
    options = ["--network", tmp_path / "network.json", "--data", source / f"{NAME}.npz", "--device", "golden", "--steps", "1"]
    assert cli.main(["train", *map(str, options), "--batch", "64", "--out", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out" / "curve.png").exists()


def test_a_report_chooses_no_file_of_this_machine(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for data in ("/dev/zero", str(copy / "checkpoint.npz"), ".", "../../etc"):
        for path in ({"data_path": None}, {"data_path": data}, {"data_path": data, "data_sha256": "0" * 64}):
            report = json.loads((copy / "report.json").read_text()) | {"data": data} | path
            (copy / "report.json").write_text(json.dumps(report))
            assert cli.main(["report", str(copy)]) == 0
            assert f"no confusion matrix: the data set {data!r} is needed, see option --data" in capsys.readouterr().out


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    """A checkpoint."""
    from bnnedge import Settings, Trainer

    with Trainer(Network((4, 4), [Dense(32), Dense(4)], "tiny"), settings=Settings(batch=64)) as trainer:
        trainer.save(tmp_path / "checkpoint.npz")
    return tmp_path / "checkpoint.npz"


def test_links_in_a_stranger_s_folder_are_not_followed(
    copy: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nobody asked for a file of this name: it was laid there."""
    victim = tmp_path / "victim"
    victim.write_text("mine")
    for path, words in (
        (copy / "report.html", ["report", str(copy)]),
        (trained.with_name("tiny.h"), ["export", str(trained), "--format", "c"]),
    ):
        for lay in (lambda path: path.symlink_to(victim), os.mkfifo, os.mkdir):
            lay(path)
            assert cli.main(words) == 1
            assert f"{path} is a link, or no file, and nobody asked to write there: move it away" in capsys.readouterr().err
            path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
        assert cli.main(words) == 0
    assert victim.read_text() == "mine"


def test_pipes_in_a_stranger_s_folder_are_not_waited_for(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, words in (("report.json", ["report", str(copy)]), ("checkpoint.npz", ["export", f"{copy}/checkpoint.npz"])):
        (copy / name).unlink()
        os.mkfifo(copy / name)
        assert cli.main([*words, *(["--format", "c"] if words[0] == "export" else [])]) == 1
        error = capsys.readouterr().err
        assert str(copy / name) in error
        assert "not a regular file" in error


def test_a_data_file_whose_name_is_no_text(source: Path, tmp_path: Path) -> None:
    data = tmp_path / os.fsdecode(b"\xff.npz")
    shutil.copy(source / f"{NAME}.npz", data)
    options = ["--device", "golden", "--data", str(data), "--network", str(source / "network.json"), "--batch", "64"]
    assert cli.main(["train", *options, "--steps", "3", "--out", str(tmp_path / "run")]) == 0
    assert cli.main(["report", str(tmp_path / "run"), "--data", str(data)]) == 0
    assert cli.main(["compare", str(tmp_path / "run"), str(tmp_path / "run")]) == 0


Words = Callable[[Path], list[str]]


@pytest.fixture(params=["export", "compare"])
def words(request: pytest.FixtureRequest, trained: Path, run: Path) -> Words:
    """A command that writes one file, by the place of the file."""
    if request.param == "export":
        return lambda out: ["export", str(trained), "--format", "c", "--out", str(out)]
    return lambda out: ["compare", str(run), str(run), "--out", str(out)]


def test_outputs_that_are_no_files(words: Words, tmp_path: Path) -> None:
    places = tmp_path / "places"
    places.mkdir()
    assert cli.main(words(places / "file")) == 0
    expected = (places / "file").read_bytes()

    (places / "link").symlink_to("target")
    assert cli.main(words(places / "link")) == 0
    assert (places / "link").is_symlink()
    assert len((places / "target").read_bytes()) > 1000

    os.mkfifo(places / "pipe")
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append((places / "pipe").read_bytes()))
    reader.start()
    assert cli.main(words(places / "pipe")) == 0
    reader.join()
    assert len(read[0]) == len(expected)
    assert stat.S_ISFIFO((places / "pipe").stat().st_mode)

    assert cli.main(words(Path("/dev/null"))) == 0
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    assert sorted(os.listdir(places)) == ["file", "link", "pipe", "target"]


@pytest.mark.parametrize(("place", "said"), [(".", "is a folder: give"), ("loop", "Too many"), ("file/below", "Not a directory")])
def test_outputs_that_cannot_be(words: Words, place: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "file").touch()
    assert cli.main(words(tmp_path / place)) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert str(tmp_path / place).removesuffix("/below") in error
    assert said in error


def test_a_full_device(words: Words, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(words(Path("/dev/full"))) == 1
    assert capsys.readouterr().err == "bnnedge: error: /dev/full: No space left on device\n"


@pytest.mark.parametrize("place", ["/dev/stdout", "/dev/fd/1"])
def test_standard_output_has_the_file_alone(trained: Path, place: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "bnnedge.cli", "export", str(trained), "--format", "npz", "--out"]
    subprocess.run([*command, str(tmp_path / "file")], check=True, capture_output=True)
    ran = subprocess.run([*command, place], check=True, capture_output=True)
    assert ran.stdout == (tmp_path / "file").read_bytes()
    assert ran.stderr.decode() == f"{place}\n"


def test_folders_that_are_files(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    options = ["--device", "golden", "--data", str(source / f"{NAME}.npz"), "--network", str(source / "network.json")]
    train = ["train", *options, "--batch", "64", "--steps", "1"]
    for words in (train, ["tune", *options, "--batch", "64"], ["study", "digits"]):
        assert cli.main([*words, "--out", str(tmp_path / "file")]) == 1
        assert capsys.readouterr().err == f"bnnedge: error: {tmp_path / 'file'}: Not a directory; give another place\n"


def test_a_checkpoint_that_is_a_link_stays_one(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "checkpoint.npz").symlink_to(tmp_path / "elsewhere.npz")
    options = ["--device", "golden", "--data", str(source / f"{NAME}.npz"), "--network", str(source / "network.json")]
    assert cli.main(["train", *options, "--batch", "64", "--epochs", "2", "--out", str(out)]) == 0
    assert (out / "checkpoint.npz").is_symlink()
    assert checkpoint.load(tmp_path / "elsewhere.npz").plan is not None
    assert sorted(os.listdir(tmp_path)) == ["elsewhere.npz", "out"]
