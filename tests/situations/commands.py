"""The command line, paths and accounts."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from bnnedge import CONFIGURATIONS, Configuration, Dense, Network, Settings
from bnnedge.compiler import estimate
from bnnedge.report import write_json
from situations import Row, bnnedge, says, works


def data(folder: Path, name: str = "small.npz", classes: int = 3) -> Path:
    """A file of small images."""
    random = np.random.RandomState(2)
    arrays: dict[str, Any] = {}
    for part, count in (("train", 200), ("test", 40)):
        labels = np.arange(count) % classes
        arrays[f"y_{part}"] = labels
        arrays[f"x_{part}"] = (random.randint(0, 200, (count, 3, 3)) + 50 * (labels[:, None, None] % 2)).astype(np.uint8)
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **arrays)
    return path


def network(folder: Path, classes: int = 3) -> Path:
    path = folder / "net.yaml"
    path.write_text(f"name: little\ninput_shape: [3, 3]\nlayers: [{{dense: 16}}, {{dense: {classes}}}]\n")
    return path


def options(folder: Path, *more: object) -> list[object]:
    """Of a training that takes a tenth of a second."""
    own = ["--network", network(folder), "--batch", 64] if not {"--resume", "--start", "--network"} & set(map(str, more)) else []
    where = [] if "--data" in more else ["--data", data(folder)]
    out = [] if any(str(word).startswith("--out") for word in more) else ["--out", folder / "run"]
    return ["train", "--device", "golden", *where, *own, *out, *more]


def train(folder: Path, *more: object) -> str:
    return bnnedge(*options(folder, *more))


def trained(folder: Path, *more: object) -> Path:
    """The folder of a finished run."""
    train(folder, "--steps", 2, *more)
    return folder / "run"


@contextlib.contextmanager
def environment(**variables: str) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def process(*arguments: object, **variables: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "bnnedge.cli", *map(str, arguments)]
    pipes: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, env={**os.environ, **variables}, text=True, errors="surrogateescape", **pipes)


def ended(*arguments: object, **variables: str) -> tuple[int, str, str]:
    """Exit status and output of a process."""
    with process(*arguments, **variables) as running:
        out, err = running.communicate()
    return running.returncode, out, err


def head(folder: Path) -> tuple[int, str]:
    """What `bnnedge train ... | head -1` leaves."""
    with process(*options(folder, "--epochs", 50)) as running:
        assert running.stdout
        assert running.stderr
        assert running.stdout.readline().startswith("network ")
        running.stdout.close()
        err = running.stderr.read()
    return running.returncode, err


def quiet(result: Any) -> None:
    assert result == (128 + signal.SIGPIPE, ""), result


def stopped(number: int) -> Callable[[Path], tuple[int, str, list[str]]]:
    """A training that gets a signal: status, what it says, and the files that it leaves."""

    def act(folder: Path) -> tuple[int, str, list[str]]:
        with process(*options(folder, "--epochs", 100_000)) as running:
            assert running.stdout
            for line in running.stdout:
                if line.startswith("epoch"):
                    break
            running.send_signal(number)
            _, err = running.communicate()
        return running.returncode, err, sorted(os.listdir(folder / "run"))

    return act


def kept(number: int) -> Callable[[Any], None]:
    def check(result: Any) -> None:
        status, err, files = result
        assert status == 128 + number, result
        assert "interrupted; go on with --resume" in err
        assert files == ["checkpoint.npz", "report.json"]

    return check


def status(wanted: int, *texts: str) -> Callable[[Any], None]:
    """An outcome of `ended`: the status, and texts on either stream, without a traceback."""

    def check(result: Any) -> None:
        code, out, err = result
        assert code == wanted, result
        assert all(text in out + err for text in texts), result
        assert "Traceback" not in err

    return check


def largest_rate(folder: Path) -> str:
    """Train with the limits that the refusal of a rate names."""
    found = []
    for rate in ("2", "1e-9"):
        try:
            train(folder, "--steps", 1, "--rate", rate)
        except RuntimeError as error:
            found = re.findall(r"in ([\d.e-]+)\.\.([\d.e-]+),", str(error))
    ((low, high),) = found
    return train(folder, "--steps", 1, "--rate", low) + train(folder, "--steps", 1, "--rate", high)


def at_home(folder: Path) -> list[str]:
    with environment(HOME=str(folder / "home")):
        train(folder, "--steps", 1, "--out=~/results")
    return sorted(os.listdir(folder / "home" / "results"))


def through_a_link(folder: Path) -> list[str]:
    (folder / "run").symlink_to("elsewhere/run")
    train(folder, "--steps", 1)
    return sorted(os.listdir(folder / "elsewhere" / "run"))


def files(result: Any) -> None:
    assert {"checkpoint.npz", "report.json"} <= set(result), result


def reported(folder: Path, name: str = "small.npz", change: Callable[[Path], object] = lambda path: None) -> str:
    """Train on a file, change it, and make the run's page, from another folder."""
    path = data(folder, name)
    os.chdir(path.parent)
    trained(folder, "--data", path.name)
    change(path)
    os.chdir(folder)
    return bnnedge("report", folder / "run")


def finds_its_data(result: str) -> None:
    assert "no confusion matrix" not in result, result


def other_images(path: Path) -> None:
    arrays = dict(np.load(path))
    arrays["x_test"] = arrays["x_test"][::-1]
    np.savez(path, **arrays)


def compared(folder: Path) -> str:
    whole = trained(folder)
    train(folder, "--resume", whole, "--steps", 5, "--out", folder / "more")
    return bnnedge("compare", whole, folder / "more")


def diverged(folder: Path) -> Any:
    write_json(folder / "report.json", {"loss": [1.0, float("nan")], "rate": (float("inf"),)})
    return json.loads((folder / "report.json").read_text())


def no_negative_number(result: str) -> None:
    first = result.splitlines()
    assert [line.split(" ")[0].rstrip(":") for line in first[:6]] == [
        "network", "configuration", "clock", "batch", "fits", "bottleneck",
    ]  # fmt: skip
    assert not re.search(r"-\d", result.partition("\n\n")[2]), result
    assert "1.active" not in result


def limits_of_classes(folder: Path) -> list[tuple[str, int, int]]:
    """Of docs/how-to/own-network.md: each number of classes fits, and one more does not."""
    text = (Path(__file__).resolve().parents[2] / "docs/how-to/own-network.md").read_text()
    rows = re.findall(r"^\| (64|128|256|512) \| (\d+|-) \| (\d+|-) \| (\d+|-) \|$", text, re.MULTILINE)
    assert len(rows) == 4
    wrong = []
    for batch, *most in rows:
        for name, number in zip(("sim-small", "pynq-z2", "pynq-z2-x64"), most, strict=True):
            here, top = (int(batch), CONFIGURATIONS[name]), 0 if number == "-" else int(number)
            tried = {2: top >= 2, **({top: True} if top else {}), **({top + 1: False} if 2 <= top < 128 else {})}
            wrong += [(name, batch, classes) for classes, right in tried.items() if fits(classes, *here) != right]
    return wrong


def fits(classes: int, batch: int, configuration: Configuration) -> bool:
    return estimate(Network((8, 8), [Dense(16), Dense(classes)]), Settings(batch=batch), configuration).fits


def data_beside_another_cache(folder: Path) -> str:
    """Fashion-MNIST in ~/.cache/bnnedge, while simulators are kept elsewhere."""
    place = folder / "home/.cache/bnnedge/fashion-mnist"
    place.mkdir(parents=True)
    (place / "train-images-idx3-ubyte").write_bytes(b"")
    variables = {"HOME": str(folder / "home"), "BNNEDGE_CACHE": str(folder / "cache"), "XDG_CACHE_HOME": ""}
    # A whole set of the system's would be taken instead.
    with environment(**variables), mock.patch("bnnedge.data.places._SYSTEM", folder / "none"):
        return bnnedge("train", "--device", "golden", "--data", "fashion-mnist")


def set_up(folder: Path) -> tuple[int, str, str]:
    """`.ci/setup` of a clone in such a folder."""
    (folder / ".ci").mkdir(parents=True)
    shutil.copy(Path(__file__).resolve().parents[2] / ".ci/setup", folder / ".ci")
    done = subprocess.run([folder / ".ci/setup"], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


def none(result: Any) -> None:
    assert not result, result


def sealed(folder: Path) -> str:
    """`doctor` with a cache folder that is a file."""
    (folder / "file").write_text("")
    with environment(BNNEDGE_CACHE=str(folder / "file")), contextlib.suppress(RuntimeError):
        return bnnedge("doctor", "--quick")
    return bnnedge_output(folder)


def bnnedge_output(folder: Path) -> str:
    return "\n".join(ended("doctor", "--quick", BNNEDGE_CACHE=str(folder / "file"))[1:])


ODD = "it's $HOME & a #1 'caf\u00e9'; \u6570"

ROWS = [
    # Options
    Row("--pixels -1,1 with a space", lambda f: bnnedge("import", f / "no.keras", "--pixels", "-1,1"), "no.keras"),
    Row("--pixels -0.5,.5", lambda f: bnnedge("import", f / "no.keras", "--pixels", "-0.5,.5"), "no.keras"),
    Row("a mistyped command", lambda f: bnnedge("trian"), "did you mean 'train'"),
    Row("a mistyped device", lambda f: bnnedge("train", "--device", "gloden"), "did you mean 'golden'"),
    Row("an option with an underscore", lambda f: bnnedge("train", "--grad_planes", 4), "did you mean '--grad-planes'"),
    Row("an option of another command", lambda f: bnnedge("estimate", "--epochs", 4), "unrecognized arguments: --epochs 4"),
    Row("a mistyped configuration", lambda f: bnnedge("estimate", "--config", "sim_small"), "did you mean 'sim-small'"),
    Row("a configuration in capitals", lambda f: bnnedge("estimate", "--config", "PYNQ-Z2"), "did you mean 'pynq-z2'"),
    Row("a mistyped network", lambda f: bnnedge("estimate", "--network", "binarinet"), "did you mean 'binarynet'"),
    Row("a mistyped board", lambda f: bnnedge("generate", "--board", "pynqz2"), "did you mean 'pynq-z2'"),
    Row("a mistyped data set", lambda f: train(f, "--data", "fashion_mnist"), "did you mean 'fashion-mnist'"),
    Row("no steps", lambda f: train(f, "--steps", 0), "must be a positive whole number, not 0"),
    Row("a batch between two", lambda f: train(f, "--network", network(f), "--batch", 100), "of 16, not 100; 96 and 112 fit"),
    Row("limits of the rate as they are named", largest_rate, works),
    Row("no command", lambda f: bnnedge(), says("train", "doctor", "--version")),
    Row("the version", lambda f: bnnedge("--version"), says("bnnedge 0.", "NumPy")),
    Row("--traceback behind the command", lambda f: train(f, "--steps", 1, "--traceback"), works),
    Row("--resume of an unset variable", lambda f: train(f, "--resume", "", "--steps", 1), "--resume is empty"),
    Row("--network=$UNSET", lambda f: bnnedge("estimate", "--network="), "--network is empty"),
    Row("a folder of an unset variable", lambda f: bnnedge("notebooks", ""), "DIR is empty"),
    Row("one of two runs is an unset variable", lambda f: bnnedge("compare", f, ""), "DIR is empty"),
    Row("a scheduler without a port", lambda f: bnnedge("study", "digits", "--scheduler", "host"), "such as tcp://HOST:8786"),
    Row("a study saved when?", lambda f: bnnedge("study", "digits", "--save-every", "never"), "invalid number of minutes value"),
    Row("a study saved before now", lambda f: bnnedge("study", "digits", "--save-every=-1"), "minutes, 0 or more, not -1"),
    Row("a study without workers", lambda f: bnnedge("study", "digits", "--workers", "0"), "must be a positive whole number"),
    Row(
        "workers here for a cluster elsewhere",
        lambda f: bnnedge("study", "digits", "--out", f, "--scheduler", "tcp://host:8786", "--workers", "2"),
        "--workers are those of this machine: leave it out with --scheduler",
    ),
    Row("no report of bytes", lambda f: bnnedge("study", "memory", "--out", f, "--report"), "--report is of studies"),
    Row(
        "no states of bytes", lambda f: bnnedge("study", "memory", "--out", f, "--save-every", "9"), "--save-every is of studies"
    ),
    Row("fine-tuning by workers", lambda f: bnnedge("study", "fine-tuning", "--workers", "2"), "has its own way"),
    Row("no GPU that fine-tunes", lambda f: bnnedge("study", "fine-tuning", "--arrays", "torch"), "--arrays is of studies"),
    # Paths
    Row("--resume of a folder", lambda f: train(f, "--resume", trained(f), "--steps", 3), says("after 3 steps")),
    Row("--start of a folder", lambda f: train(f, "--start", trained(f), "--steps", 3), works),
    Row(
        "other averages without a checkpoint",
        lambda f: train(f, "--fresh-averages"),
        "--fresh-averages is of a run that begins with --start",
    ),
    Row("export of a folder", lambda f: bnnedge("export", trained(f), "--format", "npz"), says("little.npz")),
    Row("a report of a report", lambda f: bnnedge("report", trained(f) / "report.json"), says("report.html")),
    Row("a report of another file", lambda f: bnnedge("report", network(f)), "net.yaml: it is no folder"),
    Row("a report that is a folder", lambda f: bnnedge("report", (f / "report.json").mkdir() or f), "json: it is a folder"),
    Row("--resume of a file in a file", lambda f: train(f, "--resume", network(f) / "x"), "net.yaml/x: Not a directory$"),
    Row("a model in a file", lambda f: bnnedge("import", network(f) / "x.onnx", "--pixels=0,1"), "model file .*x.onnx"),
    Row("a model that is the folder above", lambda f: bnnedge("import", "..", "--pixels=0,1"), "it is a folder, not a file"),
    Row("--resume of a folder without a run", lambda f: train(f, "--resume", f), "checkpoint.npz: there is no such file"),
    Row("--config of other lanes", lambda f: train(f, "--resume", trained(f), "--config", "pynq-z2"), "8 lanes; with 16"),
    Row(
        "--config of the same lanes",
        lambda f: train(f, "--resume", trained(f, "--config", "pynq-z2"), "--config", "pynq-z2-x64", "--steps", 3),
        says("after 3 steps"),
    ),
    Row("--out of a file", lambda f: train(f, "--steps", 1, "--out", network(f)), "Not a directory; give another place"),
    Row("--out of generate is a file", lambda f: bnnedge("generate", "--out", network(f) / "x"), "net.yaml: Not a directory"),
    Row("--out=~/results", at_home, files),
    Row("--out is a link that leads nowhere yet", through_a_link, files),
    Row("data in a folder that is not there", lambda f: train(f, "--data", f / "no" / "such.npz"), "such.npz: cannot be read"),
    Row("data with an odd name in an odd folder", lambda f: reported(f, f"{ODD}/{ODD}.npz"), finds_its_data),
    Row("a run in an odd folder", lambda f: train(f, "--steps", 1, "--out", f / ODD), works),
    Row("a run in a folder whose name is no text", lambda f: train(f, "--steps", 1, "--out", f / os.fsdecode(b"a\xff")), works),
    Row("a report finds its data", reported, finds_its_data),
    Row("a report of data that was changed", lambda f: reported(f, change=other_images), says("no longer what the run was")),
    Row("a report of data that has gone", lambda f: reported(f, change=Path.unlink), says("small.npz is not there any more")),
    Row("a report of damaged data", lambda f: reported(f, change=lambda p: p.write_bytes(b"PK")), says("cannot be read")),
    Row("a clone below a folder called $HOME", lambda f: set_up(f / "$HOME"), status(1, "move the clone")),
    Row("a clone below a folder with a quote", lambda f: set_up(f / 'a "b"'), status(1, "move the clone")),
    Row("data in the home, simulators elsewhere", data_beside_another_cache, "home/.cache/bnnedge/fashion-mnist"),
    Row("a cache folder that is a file", sealed, says("MISSING cache folder", "set BNNEDGE_CACHE")),
    # What is printed
    Row("one step", lambda f: train(f, "--steps", 1), says("after 1 step\n")),
    Row("an estimate begins with its subject", lambda f: bnnedge("estimate", "--network", "digits"), no_negative_number),
    Row("an estimate of tensors", lambda f: bnnedge("estimate", "--network", "digits", "--tensors"), says("1.active")),
    Row("a run beside its continuation", compared, says("for the last 3 steps", "since a run was resumed")),
    Row("losses that are no numbers", diverged, lambda r: works(r == {"loss": [1.0, None], "rate": [None]} or 1 / 0)),
    Row("as many classes as the page says", limits_of_classes, none),
    # Streams and signals
    Row("no standard error", lambda f: closed(f, 2), files),
    Row("no standard output", lambda f: closed(f, 1), files),
    Row("| head", head, quiet),
    Row("| head of a short command", lambda f: ended("doctor", "--quick")[0] in (0, 1), works),
    Row("a full standard output", lambda f: full(f), status(1, "standard output: No space left on device")),
    Row("a full disk", lambda f: bnnedge("export", trained(f), "--format", "c", "--out", "/dev/full"), "/dev/full: No space"),
    Row("a full disk in the end", lambda f: no_curve(f), "curve.png: No space left on device"),
    Row(
        "a backend that Matplotlib does not know",
        lambda f: ended(*options(f, "--steps", 1, "--out", f / "out"), MPLBACKEND="nonsense"),
        status(0, "no curve.png: Matplotlib says: Key backend"),
    ),
    Row(
        "an ascii terminal",
        lambda f: ended(*options(f, "--steps", 1, "--out", f / "\u00f6"), PYTHONIOENCODING="ascii:strict"),
        status(0, "\\xf6"),
    ),
    Row(
        "the C locale",
        lambda f: ended(*options(f, "--steps", 1), LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0"),
        status(0, "results in"),
    ),
    Row("SIGTERM", stopped(signal.SIGTERM), kept(signal.SIGTERM)),
    Row("the terminal closes", stopped(signal.SIGHUP), kept(signal.SIGHUP)),
]


def full(folder: Path) -> tuple[int, str, str]:
    command = [sys.executable, "-m", "bnnedge.cli", "study", "list"]
    with open("/dev/full", "w") as out:
        done = subprocess.run(command, stdout=out, stderr=subprocess.PIPE, text=True, check=False)
    return done.returncode, "", done.stderr


def closed(folder: Path, stream: int) -> list[str]:
    """Train in a process without this stream, as services start some; the files that it leaves."""
    command = [sys.executable, "-m", "bnnedge.cli", *map(str, options(folder, "--steps", 1))]
    subprocess.run(command, preexec_fn=lambda: os.close(stream), check=True)
    return os.listdir(folder / "run")


def no_curve(folder: Path) -> str:
    """The disk is full when all but the curve is written."""
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder / "run" / "curve.png"))
    with mock.patch("bnnedge.commands.train.save_curve", side_effect=full):
        return train(folder, "--steps", 1)
