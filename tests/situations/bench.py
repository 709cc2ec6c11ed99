"""An engineer's bench: configurations, boards, simulation, files for other tools."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from bnnedge import Dense, Network, Settings, Trainer, checkpoint
from situations import Row, bnnedge, says

SMALL = "lanes: 4\nword: 16\nleft_depth: 2048\nright_depth: 1024\ntile_rows: 256\nchannels: 1024\nclock_hz: 80e6\n"


def estimated(text: str, name: str = "own.yaml") -> Callable[[Path], Any]:
    """`estimate` of the digits network with a configuration of this text."""

    def act(folder: Path) -> str:
        (folder / name).write_text(text)
        return bnnedge("estimate", "--network", "digits", "--batch", 64, "--config", name)

    return act


def trained(folder: Path) -> str:
    """Two runs, the second one resumed, with a configuration that is gone by then; the report's configuration and clock."""
    (folder / "own.yaml").write_text(SMALL)
    device = ("--device", "golden")
    bnnedge("train", *device, "--samples", 128, "--steps", 2, "--config", "own.yaml", "--out", "run")
    (folder / "own.yaml").unlink()
    bnnedge("train", *device, "--samples", 128, "--steps", 4, "--resume", "run/checkpoint.npz", "--out", "run")
    assert checkpoint.load("run/checkpoint.npz").configuration.name == "own"
    return (folder / "run" / "report.json").read_text()


def from_python(folder: Path) -> str:
    (folder / "own.json").write_text('{"lanes": 4, "word": 16, "name": "mine"}')
    with Trainer(Network((4,), [Dense(4)]), configuration=folder / "own.json", settings=Settings(batch=64)) as trainer:
        return trainer.device.configuration.name


DENSE = Network((4,), [Dense(4)])


def studied(config: str) -> Callable[[Path], Any]:
    """A study of one run with the configuration of this name; own.yaml is a good one."""

    def act(folder: Path) -> str:
        (folder / "own.yaml").write_text(SMALL)
        (folder / "trial.yaml").write_text(
            "title: A trial\ncommon: {data: digits, network: digits, epochs: 1, batch: 64, samples: 64}\n"
            f"runs: [{{label: one, model: integer, rate: 0.01, config: {config}}}]\n"
        )
        return bnnedge("study", "trial.yaml", "--report")

    return act


def raw(folder: Path, content: bytes) -> str:
    (folder / "own.yaml").write_bytes(content)
    return bnnedge("estimate", "--config", "own.yaml")


def tested(folder: Path) -> str:
    (folder / "tiny.yaml").write_text("lanes: 4\nword: 16\nleft_depth: 64\nright_depth: 64\ntile_rows: 64\nchannels: 64\n")
    return bnnedge("selftest", "--device", "golden", "--config", "tiny.yaml")


CONFIGURATIONS = [
    Row("an own configuration for estimate", estimated(SMALL), says("images per second")),
    Row("an own configuration, trained and resumed", trained, says('"config": "own"', '"lanes": 4', '"clock_hz": 80000000')),
    Row("a configuration as JSON, by its path, from Python", from_python, says("mine")),
    Row("an own configuration in a study", studied("own.yaml"), says("A trial: 1 run")),
    Row("a misspelt one in a study", studied("own.yml"), "entry 1 of runs: there is no configuration 'own.yml': neither"),
    Row("a table, from Python", lambda folder: Trainer(DENSE, configuration={"lanes": 8}), "a Configuration, a name or a file"),
    Row("twelve lanes", estimated("lanes: 12"), r"own.yaml: lanes .* power of two in 4..16 .*, not 12; 8 or 16 would do"),
    Row("a hundred lanes", estimated("lanes: 100"), "not 100; 16 would do"),
    Row("words of 128 bits", estimated("word: 128"), "word .* a 64-bit beat.*, not 128; 64 would do"),
    Row("an accumulator of 32 bits", estimated("accumulator: 32"), "accumulator .* 16..22 .*, not 32; 22 would do"),
    Row("a buffer of an odd depth", estimated("left_depth: 1000"), "multiple of 64 in .*, not 1000; 960 or 1024 would do"),
    Row("a tile buffer of no power of two", estimated("tile_rows: 500"), "tile_rows .* not 500; 256 or 512 would do"),
    Row("a clock in MHz", estimated("clock_hz: 100"), r"clock_hz .* \(it is in Hz\), not 100"),
    Row("a number in quotes", estimated("lanes: '8'"), "lanes .* not '8'"),
    Row("a parameter's name misspelt", estimated("left_dept: 1024"), "no parameter 'left_dept'; .* did you mean 'left_depth'"),
    Row("a tuple of Python", estimated("lanes: !!python/tuple [8]"), "tags .* are not read"),
    Row("a network for a configuration", estimated("input_shape: [8, 8]\nlayers: [{dense: 10}]"), "no parameter 'input_shape'"),
    Row("an empty file", estimated(""), "own.yaml: it must be a table of parameters"),
    Row("bytes that are no text", lambda folder: raw(folder, b"lanes: \xff"), "own.yaml: line 1 is not UTF-8 text"),
    Row("the name of a built-in one", estimated("lanes: 8", "pynq-z2.yaml"), "is that of the built-in configuration 'pynq-z2'"),
    Row("no such file", lambda folder: bnnedge("estimate", "--config", "owm.yaml"), "'owm.yaml': neither a built-in one"),
    Row("a folder", lambda folder: bnnedge("estimate", "--config", folder), "there is no configuration .* nor a file"),
    Row("a tiny one for selftest", tested, "'tiny' is too small for the network that selftest trains"),
]


PART = "part: xc7z020clg400-1\n"


def packaged(text: str) -> Callable[[Path], Any]:
    """`package` for a board of this description: the first command that asks for a board, and needs no tools."""

    def act(folder: Path) -> str:
        (folder / "mine").mkdir(exist_ok=True)
        (folder / "mine" / "board.yaml").write_text(text)
        return bnnedge("package", "--board", "mine")

    return act


def with_configuration(folder: Path) -> str:
    """A board that names a configuration's file beside its description."""
    act = packaged(f"{PART}configuration: small.yaml")
    (folder / "small.yaml").write_text("lanes: 12")  # not that of the working directory
    (folder / "mine").mkdir()
    (folder / "mine" / "small.yaml").write_text(SMALL)
    return act(folder)


def spaced(folder: Path, text: str) -> str:
    (folder / "my board").mkdir()
    (folder / "my board" / "board.yaml").write_text(text)
    return bnnedge("package", "--board", "my board")


def by_file(folder: Path) -> str:
    (folder / "mine").mkdir()
    (folder / "mine" / "board.yaml").write_text(PART)
    return bnnedge("package", "--board", "mine/board.yaml")


BOARDS = [
    Row("an own board, before anything is built", packaged(PART), "run bnnedge bitstream .* --board mine before"),
    Row("an own board with its own configuration", with_configuration, "no build/mine/small/manifest.json: run"),
    Row("a board in a folder with a space", lambda folder: spaced(folder, PART), "not 'my board': give one in the file"),
    Row("the same with a name", lambda folder: spaced(folder, f"{PART}name: mine"), "no build/mine/pynq-z2/manifest.json"),
    Row("the description instead of its folder", by_file, "run bnnedge bitstream .* --board mine/board.yaml"),
    Row("a board without a part", packaged("title: Mine"), "mine/board.yaml: it must be a table with a part, such as"),
    Row("an UltraScale+", packaged("part: xczu3eg-sbva484-1"), "part must be a Zynq-7000 .*, not 'xczu3eg-sbva484-1'"),
    Row("a part without package", packaged("part: xc7z020"), "with package and speed grade, such as xc7z020clg400-1"),
    Row("a field misspelt", packaged(f"{PART}leds: 2"), "there is no 'leds' of a board; there are name, part"),
    Row("registers of an UltraScale+", packaged(f"{PART}registers: [0xA0000000, 65536]"), "0x40000000..0x7fffffff"),
    Row("one port twice", packaged(f"{PART}memory_ports: [1, 1]"), "memory_ports .* two of 0, 1, 2 and 3"),
    Row("Tcl in a pin", packaged(f"{PART}pins: {{led_busy: ['[exit]', LVCMOS33]}}"), "package pin and I/O standard"),
    Row("a folder without a description", lambda folder: bnnedge("generate", "--board", folder), "board.yaml: No such file"),
    Row("no such folder", lambda folder: bnnedge("synth", "--board", "mien"), "'mien': neither a built-in one .* nor a folder"),
    Row("a configuration that is none", packaged(f"{PART}configuration: 7"), "configuration .* a name, or a file"),
]


def exported(file: str) -> Callable[[Path], Any]:
    """Export of a small network as a C header of this name; the line that says how to include it."""

    def act(folder: Path) -> str:
        with Trainer(Network((4,), [Dense(4)], "my network"), settings=Settings(batch=64)) as trainer:
            trainer.save("checkpoint.npz")
        out = ("--out", file) if file else ()
        (path,) = bnnedge("export", "checkpoint.npz", "--format", "c", *out).splitlines()
        return next(line for line in Path(path).read_text(encoding="utf-8").splitlines() if "#include" in line)

    return act


HEADERS = [
    Row("a C header of a network with a space in its name", exported(""), says('#include "my-network.h"')),
    Row("a C header with a hyphen", exported("my-network.h"), says('#include "my-network.h"')),
    Row("a C header that begins with a digit", exported("2nd.h"), says('#include "2nd.h"')),
    Row("a C header with an umlaut", exported("größe.h"), says('#include "größe.h"')),
    Row("a C header with a quotation mark", exported('a"b.h'), "no C program can include"),
]


def waved(*options: object, device: str = "rtl") -> Callable[[Path], Any]:
    """A training that asks for waveforms; what it says before anything is compiled."""

    def act(folder: Path) -> str:
        (folder / "file").write_text("")
        (folder / "folder.vcd").mkdir()
        return bnnedge("train", "--device", device, "--data", "digits", "--steps", 2, "--out", "run", *options)

    return act


WAVES = [
    Row("waveforms by a name that tells no format", waved("--waves", "run.wave"), "must end in .fst or .vcd, not 'run.wave'"),
    Row("waveforms without a format", waved("--waves", "run"), "must end in .fst or .vcd"),
    Row("waveforms of the golden model", waved("--waves", "a.vcd", device="golden"), "--device rtl alone, not golden"),
    Row("waveforms of a board", lambda folder: bnnedge("selftest", "--waves", "a.vcd"), "--device rtl alone, not pynq"),
    Row("steps of no waveforms", waved("--wave-steps", "1-2"), "--wave-steps goes with --waves FILE"),
    Row("steps that are words", waved("--waves", "a.vcd", "--wave-steps", "first"), "such as 3-5, not 'first'"),
    Row("steps the wrong way round", waved("--waves", "a.vcd", "--wave-steps", "5-3"), "the same or later, not 5-3"),
    Row("a step 0", waved("--waves", "a.vcd", "--wave-steps", "0"), "from 1 or later"),
    Row("waveforms below a file", waved("--waves", "file/a.vcd"), "file: Not a directory|file.*[Nn]ot a directory"),
    Row("waveforms in place of a folder", waved("--waves", "folder.vcd"), "folder.vcd: it is no file"),
    Row("waveforms to a device", waved("--waves", "/dev/null"), "must end in .fst or .vcd"),
]

ROWS: list[Row] = [*CONFIGURATIONS, *BOARDS, *HEADERS, *WAVES]
