"""Does some test notice each mutation of the hardware?  python tests/mutations.py [--only FILE]

Each of hardware_mutants.py is made in a copy of the sources, against which the tests of its file run, and, if these pass, a few
small networks on the compiled RTL of a tiny accelerator. What was found is kept in build/mutations.json, as long as the
mutation stays the same; the table is printed at the end, and the exit status is 1 if a mutant survives that is not
explained.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from hardware_mutants import MUTANTS, Mutant

ROOT = Path(__file__).resolve().parents[1]
WORK, RESULTS = ROOT / "build" / "mutant", ROOT / "build" / "mutations.json"
PACKAGES = {"host": ".", "hw": "hw", "sim": "sim", "boards": "boards"}  # folders, and where they stand in `bnnedge`
TIME_LIMIT = 1500  # seconds of a test run: a mutant may hang
TESTS = {  # of files that have none of their own
    "control/rows.py": ["control/test_load.py", "control/test_store.py"],
    "control/request.py": ["control/test_load.py"],
}


class BrokenMutant(Exception):
    """It is no hardware at all: choose another one."""


def tests_of(file: str) -> list[str]:
    """Test files, below tests/hw, of a file below hw/."""
    path = Path(file)
    return TESTS.get(file, [str(path.with_name(f"test_{path.name}"))])


def make(mutant: Mutant) -> dict[str, str]:
    """Write the package with the mutation; return the environment in which Python finds that one."""
    package = WORK / "bnnedge"
    shutil.rmtree(WORK, ignore_errors=True)
    for folder, place in PACKAGES.items():
        shutil.copytree(ROOT / folder, package / place, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
    target = package / "hw" / mutant.file
    text = target.read_text()
    if text.count(mutant.old) != 1:
        count = text.count(mutant.old)
        raise SystemExit(f"hw/{mutant.file} holds {mutant.old!r} {count} times, not once: mend hardware_mutants.py")
    target.write_text(text.replace(mutant.old, mutant.new))
    path = os.pathsep.join([str(WORK), str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")])
    return os.environ | {"PYTHONPATH": path, "BNNEDGE_CACHE": str(ROOT / "build" / "mutant-cache")}


def run(command: list[str], environment: dict[str, str]) -> str:
    """What notices: "" if nothing does, the first failed test, or a time-out. Raises BrokenMutant."""
    try:
        done = subprocess.run(
            [sys.executable, *command], cwd=ROOT, env=environment, text=True, capture_output=True, timeout=TIME_LIMIT
        )
    except subprocess.TimeoutExpired:
        return "time-out"
    if done.returncode == 0:
        return ""
    failed = re.search(r"^(?:FAILED|ERROR) \S*?tests/(\S+)", done.stdout, re.MULTILINE)
    broken = re.search(r"^E +(Syntax|Name|Type)Error", done.stdout, re.MULTILINE)
    if broken or (not failed and command[-1] != "--system"):
        raise BrokenMutant(f"{done.stdout[-3000:]}{done.stderr[-2000:]}")
    return failed.group(1) if failed else "system: " + done.stderr.strip().splitlines()[-1][:100]


def units(mutant: Mutant) -> str:
    """Which of its file's tests notices the mutant."""
    tests = [f"tests/hw/{test}" for test in tests_of(mutant.file)]
    return run(["-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests], make(mutant))


def networks(mutant: Mutant) -> str:
    """Whether a network on its RTL notices the mutant."""
    return run([__file__, "--system"], make(mutant))


def name_of(mutant: Mutant) -> str:
    """What the results call it."""
    return f"{mutant.file}: {mutant.old} -> {mutant.new}"


def system() -> None:
    """Networks on the compiled RTL of the package that is found, against the golden model, under a memory that stalls."""
    from exact import Pair
    from networks import random_network

    from bnnedge import Settings
    from bnnedge.configuration import Configuration
    from bnnedge.devices.rtl import open_rtl
    from bnnedge.sim.verilated import MemoryModel

    config = Configuration("tiny", 4, 16, left_depth=960, right_depth=1024, tile_rows=256, channels=512)
    with contextlib.closing(open_rtl(config)) as device:
        device.bus.set_memory(MemoryModel(stall=0.2))
        for sizes, settings in (
            ([20, 24, 10], Settings(batch=64)),
            ([70, 33, 5], Settings(batch=64, gradient_planes=3, input_planes=4)),
        ):
            pair = Pair.of(device, sizes, settings)
            pair.train(3)
            pair.infer()
        tried, seed = 0, 0
        while tried < 12:
            seed += 1
            network, settings = random_network(seed, 3e5)
            try:
                pair = Pair.of(device, network, settings)
            except ValueError:  # it does not fit
                continue
            pair.train(2)
            pair.probe()
            tried += 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help="mutants of files whose name holds this")
    parser.add_argument("--system", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.system:
        system()
        return 0
    chosen = [m for m in MUTANTS if not arguments.only or arguments.only in m.file]
    results: dict[str, str] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for stage in (units, networks):
        for mutant in chosen:
            key = f"{stage.__name__} {name_of(mutant)}"
            if key not in results and not results.get(f"units {name_of(mutant)}"):
                results[key] = stage(mutant)
                RESULTS.write_text(json.dumps(results, indent=1))
                print(f"{key}: {results[key] or '-'}", file=sys.stderr, flush=True)
    found = {m: results[f"units {name_of(m)}"] or results.get(f"networks {name_of(m)}", "") for m in chosen}
    for mutant, test in found.items():
        print(f"{name_of(mutant)}\n    {test or (f'equivalent: {mutant.why}' if mutant.why else 'NOT NOTICED')}")
    unexplained = sum(not test and not mutant.why for mutant, test in found.items())
    noticed = sum(bool(test) for test in found.values())
    print(f"{noticed} of {len(chosen)} mutations are noticed; {unexplained} are neither noticed nor explained")
    return int(unexplained > 0)


if __name__ == "__main__":
    sys.exit(main())
