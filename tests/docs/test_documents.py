"""The code in the documents works: it is run where any machine can run it in moments, and checked otherwise.

Code stands in fenced blocks, by language:

python  run, a page from top to bottom in one namespace and one temporary folder
sh      `bnnedge` commands are run likewise; other programs are checked
yaml    a network, a study, a configuration or a board; written to the file that its first line names, if it does
text    output: all that Python in front of it prints, or a part of what commands there print; `bnnedge` lines in it are
        synopses, whose options must exist

`NOT_RUN` says what is only checked, and why; `STAND_INS` what is run on another device. Only checked means: a `bnnedge` command
parses, a target of make exists, extras exist, Python compiles and its imports work.
"""

from __future__ import annotations

import ast
import contextlib
import io
import re
import shlex
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tomllib
import yaml
from sybil import Sybil
from sybil.parsers.markdown import CodeBlockParser

from bnnedge import Configuration, Dense, Network, Settings, Trainer, cli, data, digits
from bnnedge.boards import Board
from bnnedge.devices import DEVICES, bitstream
from bnnedge.devices.golden import GoldenDevice
from bnnedge.sim.study import load_study

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]

# What is only checked: if a line of shell, or a block of Python, matches.
NOT_RUN = {
    r"^make ": "minutes, or the whole test run",
    r"^pip install ": "downloads packages",
    r"^python |import cocotb|import run_bench|cocotb_tools": "takes a simulator; tests/system/test_cocotb.py",
    r"^source |^export ": "sets up the reader's shell",
    r"^jupyter ": "a program that goes on until it is stopped",
    r"^tar |^sh ": "a board's",
    r"^bnnedge (generate|synth|bitstream|package)\b": "takes tools or minutes; tests/boards",
    r"--waves|Waves\(": "compiles the simulated accelerator; tests/host/devices/test_waves.py",
    r"^gtkwave ": "another program",
    r"^bnnedge selftest\b": "wants a board; tests/host/test_selftest.py",
    r"^bnnedge train .*--data (mnist|fashion-mnist|cifar10|svhn)\b": "wants data that not every machine has",
    r"^bnnedge (import|train .*--start)\b|importer\.load": "wants a model of another library; tests/host/importer",
    r"download=True": "fetches data over the network",
}

# Devices that the golden model stands in for. It computes the same bits: the simulated accelerator has to be compiled
# (a long test does it), a board is not there.
STAND_INS = ("rtl", "pynq")
SIMULATED = [page for page in PAGES if re.search(r'"rtl", settings|--device rtl --data', page.read_text())]

# Modules without which a page is skipped: Pythons for which requirements.lock leaves them out.
# Targets of other projects' makes.
ELSEWHERE = {"pynqremote"}
WANTED = {"tutorial.md": "onnxruntime", "own-study.md": "distributed", "scikit-learn.md": "sklearn"}


class StandIn(GoldenDevice):
    """The golden model by another name: one that can be checked."""

    name = "stand-in"


@pytest.fixture(scope="module")
def options() -> dict[str, set[str]]:
    """The options of each command of `bnnedge`."""
    (commands,) = re.findall(r"^  COMMAND$(.*)", _help(), re.MULTILINE | re.DOTALL)
    names = re.findall(r"^    (\w+) ", commands, re.MULTILINE)
    return {name: set(re.findall(r"--[a-z][a-z-]*", _help(name))) for name in names}


def _help(*command: str) -> str:
    output = io.StringIO()
    with contextlib.redirect_stdout(output), pytest.raises(SystemExit):
        cli.parser().parse_args([*command, "--help"])
    return output.getvalue()


def _data(folder: Path) -> dict[str, Any]:
    """What docs/data.md takes as given: arrays, a trainer, and files of all kinds."""
    Image = pytest.importorskip("PIL.Image")
    random = np.random.RandomState(1)
    x, y = random.randint(0, 256, (64, 8, 8)).astype(np.uint8), np.arange(64, dtype=np.uint8) % 4
    arrays = {"x_train": x, "y_train": y, "x_test": x, "y_test": y}
    np.savez(folder / "mine.npz", **arrays)
    for i, pixels in enumerate(x[:12]):
        (folder / "pictures" / "ab"[i % 2]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / "pictures" / "ab"[i % 2] / f"{i}.png")
    (folder / "folder").mkdir()
    for part in ("train", "t10k"):
        for kind, array in (("images-idx3", x), ("labels-idx1", y)):
            head = struct.pack(f">I{array.ndim}I", 0x800 + array.ndim, *array.shape)
            (folder / "folder" / f"{part}-{kind}-ubyte").write_bytes(head + array.tobytes())
    return {"x": x, "y": y, **arrays, "trainer": Trainer(Network((8, 8), [Dense(16), Dense(4)]), settings=Settings(batch=64))}


def _few(folder: Path) -> dict[str, Any]:
    """What docs/how-to/fine-tuning.md takes as given: a trained network, and some images."""
    images = data.load("digits")
    x, y = images.x_train[:256], images.y_train[:256]
    with Trainer(digits(), settings=Settings(batch=32)) as trainer:
        trainer.fit(x, y)
        trainer.save(folder / "model.npz")
    np.savez(folder / "few.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    return {"x_few": x, "y_few": y}


PREPARED: dict[str, Callable[[Path], dict[str, Any]]] = {"data.md": _data, "fine-tuning.md": _few}


def _reason(code: str) -> str | None:
    """Why code is only checked; None if it is run."""
    return next((reason for pattern, reason in NOT_RUN.items() if re.search(pattern, code)), None)


def _commands(source: str) -> Iterator[str]:
    yield from (line for line in source.replace("\\\n", " ").splitlines() if line.strip() and not line.startswith("#"))


class Blocks:
    """Evaluates the blocks of a page, in their order."""

    def __init__(self) -> None:
        self.ran = self.checked = 0
        self.printed: str | None = None  # by the block before, if it was run
        self.whole = True  # all of it is in the page

    def python(self, example: Any) -> None:
        source = "\n" * example.line + example.parsed  # so that an error names the document's line
        printed = io.StringIO()
        self.printed = None
        if _reason(example.parsed):
            wanted = [node for node in ast.parse(source).body if isinstance(node, (ast.Import, ast.ImportFrom))]
            exec(compile(ast.Module(wanted, []), example.path, "exec"), example.namespace)
            self.checked += 1
        else:
            with contextlib.redirect_stdout(printed):
                exec(compile(source, example.path, "exec"), example.namespace)
            self.ran += 1
            self.printed, self.whole = printed.getvalue(), True

    def shell(self, example: Any) -> None:
        self.printed, self.whole = None, False
        for line in _commands(example.parsed):
            program, *words = shlex.split(line, comments=True)
            if program == "bnnedge":
                cli.parser().parse_args(words)
            if _reason(line):
                _check(program, words)
                self.checked += 1
            else:
                assert program == "bnnedge", f"{line}: say in NOT_RUN why it is not run"
                with contextlib.redirect_stdout(io.StringIO()) as printed:
                    assert cli.main(words) == 0, line
                self.ran += 1
                self.printed = (self.printed or "") + printed.getvalue()

    def yaml(self, example: Any) -> None:
        self.printed = None
        named, data = re.match(r"# (\S+\.yaml)\n", example.parsed), yaml.safe_load(example.parsed)
        if named:
            Path(named[1]).parent.mkdir(exist_ok=True)
            Path(named[1]).write_text(example.parsed)
        if named and "runs" in data:
            assert load_study(named[1]).runs
        elif "layers" in data:
            assert Network.from_dict(data).geometry
        elif "part" in data:
            assert Board.from_folder(Path(named[1]).parent).part
        else:
            assert Configuration.from_file(named[1]).lanes
        self.ran += 1

    def text(self, example: Any) -> None:
        if self.printed is not None:
            printed, stated = (" ".join(text.split()) for text in (self.printed, example.parsed))
            assert printed == stated if self.whole else stated in printed, f"{example.path} says {stated}; printed was {printed}"
        self.printed = None


def _check(program: str, words: list[str]) -> None:
    if program == "make":
        assert set(words) <= _targets(), words
    if program == "pip":
        for extra in re.findall(r"\[([^]]+)\]", " ".join(words)):
            assert set(extra.split(",")) <= _extras(), extra


def _targets() -> set[str]:
    return set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def _extras() -> set[str]:
    return set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"])


def _evaluate(page: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Blocks:
    if page.name in WANTED:
        pytest.importorskip(WANTED[page.name])
    blocks = Blocks()
    kinds = {"python": blocks.python, "sh": blocks.shell, "yaml": blocks.yaml, "text": blocks.text}
    parsers = [CodeBlockParser(language, evaluator) for language, evaluator in kinds.items()]
    monkeypatch.chdir(folder)
    monkeypatch.delenv("BNNEDGE_DATA", raising=False)
    monkeypatch.setattr(bitstream, "built", lambda: None)
    document = Sybil(parsers).parse(page)
    document.namespace.update(PREPARED.get(page.name, lambda folder: {})(folder))
    for example in document.examples():
        example.evaluate()
    return blocks


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_code(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in STAND_INS:
        monkeypatch.setitem(DEVICES, name, StandIn)
    blocks = _evaluate(page, tmp_path, monkeypatch)
    assert (blocks.ran + blocks.checked > 0) == bool(re.search("^```(python|sh|yaml)$", page.read_text(), re.MULTILINE))


@pytest.mark.long
@pytest.mark.parametrize("page", SIMULATED, ids=lambda page: page.name)
def test_code_on_the_simulated_accelerator(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert _evaluate(page, tmp_path, monkeypatch).ran


def test_pages_that_simulate() -> None:
    assert {"README.md", "tutorial.md"} <= {page.name for page in SIMULATED}


@pytest.mark.parametrize("pattern", NOT_RUN)
def test_every_exception_is_needed(pattern: str) -> None:
    blocks = [block for page in PAGES for block in re.findall(r"^```(?:sh|python)\n(.*?)^```$", page.read_text(), re.M | re.S)]
    assert any(re.search(pattern, block, re.MULTILINE) for block in blocks), f"nothing matches {pattern!r}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_code_is_in_fenced_blocks_of_known_languages(page: Path) -> None:
    text = page.read_text()
    fences = re.findall(r"^```(.*)$", text, re.MULTILINE)
    assert set(fences[::2]) <= {"python", "sh", "yaml", "text"}
    assert set(fences[1::2]) <= {""}
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    code = r"(?:bnnedge|make|pip|python|pytest|source|sudo|import) .*|from \S+ import .*"
    indented = re.findall(rf"(?<=\n\n)    +(?:{code})", prose)
    assert not indented, "fence it, and say its language"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_in_text_exist(page: Path, options: dict[str, set[str]]) -> None:
    text = page.read_text()
    synopses = [re.sub(r"\n +", " ", block) for block in re.findall(r"^```text\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)]
    lines = [line.partition("#")[0] for block in synopses for line in block.splitlines() if line.startswith("bnnedge ")]
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    inline = [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", prose)]
    for line in (*lines, *(span for span in inline if span.startswith("bnnedge "))):
        command = line.split()[1]
        if command.startswith("--"):
            assert re.search(rf"^  {command}\b", _help(), re.MULTILINE), line
            continue
        assert command in options, line
        assert set(re.findall(r"--[a-z][a-z-]*", line)) <= options[command], line
    for span in inline:
        program, *words = span.split()
        if program == "make" and words and words[0] not in ELSEWHERE:
            assert words[0] in _targets(), span
        if program in ("python", "pytest"):
            assert all((ROOT / word).exists() for word in words if word.endswith((".py", "tests")) or "tests/" in word), span
        if program == "pip":
            for extra in re.findall(r"\[([^]]+)\]", span):
                assert set(extra.split(",")) <= _extras(), span


def test_every_command_is_described(options: dict[str, set[str]]) -> None:
    text = (ROOT / "docs" / "commands.md").read_text()
    assert set(re.findall(r"^bnnedge (\w+)", text, re.MULTILINE)) == set(options)


def test_every_page_is_linked_from_the_first() -> None:
    linked = re.findall(r"\]\(([^)#:]+)", (ROOT / "README.md").read_text())
    # Pages of results are linked from docs/results.md.
    pages = {str(page.relative_to(ROOT)) for page in PAGES if page.parent.name != "results"} - {"README.md"}
    assert pages <= set(linked)
    linked = re.findall(r"\]\(([^)#:]+)", (ROOT / "docs" / "results.md").read_text())
    assert {f"results/{page.name}" for page in PAGES if page.parent.name == "results"} <= set(linked)


def test_every_extra_is_described() -> None:
    (section,) = re.findall(r"^## Install parts of it\n(.*?)^## ", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    assert _extras() <= set(re.findall(r"`(\w+)`", section))
