"""Figures in the pages are those of the commands that print them.

`FIGURES` names each passage, with `{}` where a figure stands and `...` where anything may stand within a line, and how its
figures come about. A figure is right if what is computed rounds to it: 73,400 stands for 73,350 to 73,450. Cycles are those of
docs/results/cycles.csv, to which other tests hold the estimate and the RTL; memory is that of docs/results/memory.md, and
accuracies are those of the studies' rows (tests/figures.py).

No figure with a unit, in per cent, or with a comma for the thousands, may stand in a page unless a passage of `FIGURES` has it,
or `OTHERS` says why not.
"""

from __future__ import annotations

import functools
import json
import re
import statistics
from collections.abc import Callable
from pathlib import Path

import pytest
from figures import (
    G4,
    G8,
    METHOD,
    RECIPE,
    SHIFTED,
    STANDARD,
    Figures,
    both,
    by_images,
    by_planes,
    chosen,
    costs,
    ddr,
    ends_at,
    expected,
    few,
    gain,
    gap,
    means,
    mib,
    of_15,
    of_chaos,
    part,
    rate,
    ratios,
    right_words,
    rtl,
    samples,
    speed,
    spreads,
    steps_of,
    trained,
    unsteadiness,
)
from scripts import ROOT

from bnnedge import CONFIGURATIONS, binarynet, bounded, checkpoint, cli, cnv, configuration, formats, mlp, parsing, rates
from bnnedge.boards import BOARDS
from bnnedge.compiler.cycles import MEMORY_LATENCY
from bnnedge.compiler.tiling import MEMORY_BYTES
from bnnedge.data import cifar, svhn
from bnnedge.network import Network
from bnnedge.report import run
from bnnedge.sim.study import load_study, memory, report
from bnnedge.sim.study.finetuning import document as tuned_document
from bnnedge.sim.study.finetuning import grid
from bnnedge.sim.study.finetuning import table as finetuning
from bnnedge.sim.study.grid import MOST_RUNS
from bnnedge.sim.study.table import Table
from bnnedge.tuner import MOST_HELD_OUT

PAGES = [path for path in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))) if path.parent.name != "results"]

ALL = "MLP", "CNV", "BinaryNet"
LEAN = CONFIGURATIONS["pynq-z2-lean"]
INTEGER_RECIPE, STANDARD_RECIPE = f"{RECIPE}, rate 0.004, batch 64", f"{STANDARD}, rate 0.002, batch 64"
SETTINGS = "how-to/own-optimiser-setting.md"
TUNING = "how-to/fine-tuning.md"


def behind(condition: str, images: int) -> float:
    """By how many points fine-tuning stays behind float32."""
    return few("float32", images, condition)[0] - few("tuned", images, condition)[0]


def multipliers_left() -> int:
    """Of the board's, by the table of what the design takes."""
    taken = re.findall(r"^\| all \| [\d,]+ \| [\d,]+ \| \d+ \| (\d+) \|$", path_of("architecture.md").read_text(), re.MULTILINE)
    assert len(taken) == 1
    return BOARDS["pynq-z2"].part.dsps - int(taken[0])


FIGURES: list[tuple[str, str, Figures]] = [
    ("README.md", "| digits, ... | {} | {} |\n", lambda: both(rtl("digits", "sim-small", 64, 8))),
    ("README.md", "| MNIST, ... | golden model | {} % ({} %) |", lambda: means("mnist", G8, STANDARD)),
    ("README.md", "| the same, images shifted ... | golden model | {} % |", lambda: means("mnist", SHIFTED)),
    ("README.md", "| Fashion-MNIST, ... | golden model | {} % ({} %) |", lambda: means("fashion-mnist", G8, STANDARD)),
    ("README.md", "| CIFAR-10, ... | golden model | {} % |", lambda: trained("cifar10", f"full width: {G8}")[:1]),
    (
        "README.md",
        "| the same, half the width | golden model | {} % ({} %) |",
        lambda: means("cifar10", f"half width: {G8}", f"half width: {STANDARD}"),
    ),
    ("README.md", "| `pynq-z2`, ... | | {} | {} |\n", lambda: both(rtl("mlp", "pynq-z2", 128, 4))),
    ("README.md", "| `pynq-z2-lean`, ... | | {} | {} |\n", lambda: both(rtl("mlp", "pynq-z2-lean", 128, 4))),
    ("README.md", "| the paper's CNV, ... | | {} | {} |\n", lambda: both(rtl("cnv", "pynq-z2", 64, 4))),
    ("README.md", "| BinaryNet, ... | | {} (estimated) | {} |\n", lambda: both(expected("binarynet", "pynq-z2", 64, 4))),
    ("README.md", "a memory of {} bytes a cycle and {} cycles latency", lambda: [MEMORY_BYTES, MEMORY_LATENCY]),
    ("README.md", "keeps {} (MLP), {} (CNV) and {} (BinaryNet) times less state", lambda: ratios(3, *ALL)),
    ("tutorial.md", "count cycles: some {} an image, which is {} images/s", lambda: both(rtl("digits", "sim-small", 64, 8))),
    ("results.md", "({} bytes a cycle in total, {} cycles latency)", lambda: [MEMORY_BYTES, MEMORY_LATENCY]),
    ("results.md", "| pynq-z2 (...) | 128, 4 | {} | {} |", lambda: both(rtl("mlp", "pynq-z2", 128, 4))),
    ("results.md", "| pynq-z2-x64 (...) | 128, 4 | {} | {} |", lambda: both(rtl("mlp", "pynq-z2-x64", 128, 4))),
    ("results.md", "| pynq-z2-lean (...) | 128, 4 | {} | {} |", lambda: both(rtl("mlp", "pynq-z2-lean", 128, 4))),
    ("results.md", "would take 4 of the {} multipliers that `pynq-z2` has left", lambda: [multipliers_left()]),
    ("results.md", "| pynq-z2-lean (..., {}-bit latent weights) |", lambda: [LEAN.latent]),
    (
        "results.md",
        "latent\nweights of {} bits, which take words of {} instead of {};",
        lambda: [LEAN.latent, LEAN.weight_word, configuration("pynq-z2").weight_word],
    ),
    ("results.md", "| sim-small (...) | 64, 8 | {} | {} |", lambda: both(rtl("digits", "sim-small", 64, 8))),
    ("results.md", "CNV, 32 x 32 x 3 | pynq-z2 | 64, 4 | {} | {} |", lambda: both(rtl("cnv", "pynq-z2", 64, 4))),
    ("results.md", "CNV | pynq-z2 | 64, 8 | {} | {} |", lambda: both(rtl("cnv", "pynq-z2", 64, 8))),
    ("results.md", "CNV | pynq-z2-x64 | 64, 4 | {} | {} |", lambda: both(rtl("cnv", "pynq-z2-x64", 64, 4))),
    ("results.md", "3 | pynq-z2 | 64, 4 | {} (estimated) | {} |", lambda: both(expected("binarynet", "pynq-z2", 64, 4))),
    ("results.md", "| pynq-z2-x64 | 64, 4 | {} (estimated) | {} |", lambda: both(expected("binarynet", "pynq-z2-x64", 64, 4))),
    ("results.md", "| pynq-z2 | 64, 8 | {} (estimated) | {} |", lambda: both(expected("binarynet", "pynq-z2", 64, 8))),
    ("results.md", "| the paper's method, by its model | {} | {} | {} |", lambda: ratios(-1, *ALL)),
    ("results.md", "| `pynq-z2`, g = 4, p = 8 | {} | **{}** | **{}** |", lambda: ratios(1, *ALL)),
    ("results.md", "| `pynq-z2-lean`, g = 6, p = 4 | {} | {} | **{}** |", lambda: ratios(2, *ALL)),
    ("results.md", "| `pynq-z2-lean`, g = 4, p = 4 | **{}** | **{}** | **{}** |", lambda: ratios(3, *ALL)),
    ("results.md", "| `pynq-z2-lean`, g = 3, p = 4 | **{}** | **{}** | **{}** |", lambda: ratios(4, *ALL)),
    (
        "results.md",
        "| MNIST, 40 epochs, B = 256 | {} +- {} | {} +- {} | {} +- {} (the paper: 96.90) |",
        lambda: spreads("mnist", G8, STANDARD, METHOD),
    ),
    ("results.md", "| the same, images shifted ..., 60 epochs | {} +- {} |", lambda: spreads("mnist", SHIFTED)),
    (
        "results.md",
        "| Fashion-MNIST, 40 epochs, ... | {} +- {} | {} +- {} | {} +- {} |",
        lambda: spreads("fashion-mnist", G8, STANDARD, METHOD),
    ),
    ("results.md", "| the same, 4 planes | {} +- {} |", lambda: spreads("fashion-mnist", G4)),
    ("results.md", "| 10,000 images, ... | 8 | {} / {} | {} |", lambda: trained("cifar10-short", f"{G8}, 10,000 images")),
    ("results.md", "| the same | auto | {} / {} | {} |", lambda: trained("cifar10-short", "bnnedge, auto, 10,000 images")),
    (
        "results.md",
        "| the same | 4 / 8 | {} / {} | {} |",
        lambda: trained("cifar10-short", "bnnedge, 4 / 8 gradient planes, 10,000 images"),
    ),
    ("results.md", "| 50,000 images, 4 epochs | 8 | {} / {} | {} |", lambda: trained("cifar10-short", f"{G8}, 4 epochs")),
    ("results.md", "| 50,000 images, 12 epochs, ... | 8 | {} / {} | {} |", lambda: trained("cifar10-12-epochs", G8)),
    (
        "results.md",
        "| half width | {} / {} | {} | {} / {} | {} |",
        lambda: [n for label in (G8, STANDARD) for n in trained("cifar10", f"half width: {label}")],
    ),
    ("results.md", "| full width | {} / {} | {} | not run | |", lambda: trained("cifar10", f"full width: {G8}")),
    ("results.md", "it still classifies {} % of its", lambda: trained("cifar10", f"full width: {G8}")[1:2]),
    ("results.md", "of full width changed by {} points", lambda: unsteadiness("cifar10", f"full width: {G8}")),
    ("results.md", "| BinaryNet, a quarter ... | 8 | {} / {} | {} |", lambda: trained("binarynet", G8)),
    (
        "results.md",
        ": {} at 0.002, {} at 0.004 and {} at 0.008",
        lambda: means("cifar10-tuning", *(f"bnnedge, rate {rate}" for rate in (0.002, 0.004, 0.008))),
    ),
    (
        SETTINGS,
        "| {}, and {} with convolutions; on the command line {} for `digits`",
        lambda: [rates.RATE, rates.CONVOLUTIONAL_RATE, rates.SMALL_DATA_RATE],
    ),
    (SETTINGS, "{}, and {} with convolutions; small", lambda: [rates.RATE, rates.CONVOLUTIONAL_RATE]),
    ("results.md", "reaches\n{} / {} at a rate of 0.004", lambda: trained("cifar10-recipe", INTEGER_RECIPE)[:2]),
    ("results.md", "the float32 standard {} / {} at 0.002", lambda: trained("cifar10-recipe", STANDARD_RECIPE)[:2]),
    ("results.md", "it is {} points behind", lambda: [gap("cifar10-recipe", INTEGER_RECIPE, STANDARD_RECIPE)]),
    (
        "results.md",
        "| Fashion-MNIST, 15 epochs, ... | {} +- {} | {} +- {} | {} +- {} |",
        lambda: spreads("fashion-mnist", *map(of_15, (G8, STANDARD, METHOD))),
    ),
    (
        "results.md",
        "| float32 standard; L1 ...; without 1/psi | {}; {}; {}; {}; {} |",
        lambda: means("ablations", STANDARD, *(f"standard, {step}" for step in ("l1", "signs", "sign-gradient", "no-psi"))),
    ),
    (
        "results.md",
        "stands at {} % after a hundred steps, the worst at {} %,",
        lambda: steps_of("first-steps", "MLP, mnist, B = 128, 12800 images"),
    ),
    (
        "results.md",
        "CNV on CIFAR-10 at {} %, the worst at {} %",
        lambda: steps_of("first-steps", "CNV of half the width, cifar10, B = 64, 6400 images"),
    ),
    (
        "results.md",
        "it ends at {}, {} and {}\nwhere rate / batch is the same, and at {}, {} and {} where rate / sqrt(batch) is",
        lambda: ends_at(
            "spread-of-signs",
            *("rate 0.006, batch 64", "rate 0.012, batch 128", "rate 0.024, batch 256"),
            *("rate 0.0085, batch 64", "rate 0.012, batch 128", "rate 0.017, batch 256"),
        ),
    ),
    (
        "results.md",
        "1/psi, {} in float32, ...\n"
        "...(`streaming`) {}, ...\n...(`moving-centre`, ...) {}, ...\n... (`sized-beta`) {}; all of them {}.",
        lambda: means(
            "ablations",
            *("method, no-psi", "method, no-psi streaming", "method, no-psi moving-centre", "method, no-psi sized-beta"),
            "method, no-psi streaming moving-centre sized-beta",
        ),
    ),
    (
        "results.md",
        "with 8, 6, 4, 3, 2, 1 gradient planes: {}, {}, {}, {}, {}, {};\nwith batches of 32, 64, 256, 512 {}, {}, {}, {}.",
        lambda: means(
            "ablations",
            *(f"integer, {planes} gradient planes" for planes in (8, 6, 4, 3, 2, 1)),
            *(f"integer, batch {batch}" for batch in (32, 64, 256, 512)),
        ),
    ),
    ("results.md", "| without the straight-through mask | **{}** |", lambda: means("ablations", "standard, no-mask")),
    (
        "results.md",
        "| the method (...), and without 1/psi | {}, {} |",
        lambda: means("ablations", "the method: l1 signs sign-gradient", "method, no-psi"),
    ),
    (
        "results.md",
        "| the method in float32 with batches of 32, 64, 128, 256, 512 | {}, {}, {}, {}, {} |",
        lambda: means(
            "ablations",
            *("method, batch 32", "method, batch 64", "the method: l1 signs sign-gradient"),
            *("method, batch 256", "method, batch 512"),
        ),
    ),
    (
        "results.md",
        "Adam {}, sign-momentum {}, sign-SGD {}, Bop on signs {} (on true gradients {}, for the standard's {})",
        lambda: means(
            "ablations",
            "the method: l1 signs sign-gradient",
            *(f"method, {name}" for name in ("sign-momentum", "sign-sgd", "sign-bop")),
            "standard, bop",
            STANDARD,
        ),
    ),
    ("results.md", "largest difference in J^2 at any epoch | {} % |", lambda: [max(of_chaos(r"([\d.]+)% \|$"))]),
    ("results.md", "largest distance from the mean | {} % |", lambda: of_chaos(r"lies within ([\d.]+)%")),
    ("results.md", "360 test images, so one image is {} points", lambda: [100 / 360]),
    (SETTINGS, "One of the 360 test images is {} points", lambda: [100 / 360]),
    (SETTINGS, "A dense network gains {} to {} % from 8 planes to 1", lambda: [gain("digits", 64), gain("mlp", 64)]),
    ("how-to/own-settings.md", "one of 239 images is {} points", lambda: [100 / 239]),
    ("architecture.md", "{} bytes a cycle in total and {} cycles latency", lambda: [MEMORY_BYTES, MEMORY_LATENCY]),
    ("architecture.md", "| forward, layer 1 (8 planes) | ... | {} |", lambda: [part("forward, layer 1")]),
    ("architecture.md", "| forward, layers 2-4 | ... | {} |", lambda: [part(*(f"forward, layer {i}" for i in (2, 3, 4)))]),
    ("architecture.md", "| last layer, ... | ... | {} |", lambda: [part("loss")]),
    ("architecture.md", "| data gradients | ... | {} |", lambda: [part("data gradient")]),
    ("architecture.md", "| weight gradients and updates | ... | {} |", lambda: [part("weight gradient")]),
    ("architecture.md", "memory: 2 x {} KB of latent weights", lambda: [2 * mlp().weights / 1e3]),
    (
        "architecture.md",
        "| all | ... | {} ({}) | RTL: {} ({} an image) |",
        lambda: [x * n for x in (expected("mlp", "pynq-z2", 128, 4), rtl("mlp", "pynq-z2", 128, 4)) for n in (128, 1)],
    ),
    ("architecture.md", "With x 64 the RTL takes {} cycles an image.", lambda: [rtl("mlp", "pynq-z2-x64", 128, 4)]),
    ("architecture.md", "With x 64 the RTL takes {} cycles an image of CNV", lambda: [rtl("cnv", "pynq-z2-x64", 64, 4)]),
    (
        "architecture.md",
        "needs {} in the RTL ({} estimated)",
        lambda: [rtl("mlp", "pynq-z2-lean", 128, 4), expected("mlp", "pynq-z2-lean", 128, 4)],
    ),
    ("architecture.md", "| 4 | 119,000 | {} | {} |", lambda: [expected("cnv", "pynq-z2", 64, 4), rtl("cnv", "pynq-z2", 64, 4)]),
    ("architecture.md", "| 8 | | {} | {} |", lambda: [expected("cnv", "pynq-z2", 64, 8), rtl("cnv", "pynq-z2", 64, 8)]),
    (
        "architecture.md",
        "right buffer of 3 x {} words | the MLP at g = 8 needs {}:",
        lambda: [configuration("pynq-z2").right_depth / 3, right_words()],
    ),
    ("how-to/own-settings.md", "training images is held out, {} at most", lambda: [MOST_HELD_OUT]),
    ("how-to/own-study.md", "A study has {} runs at most", lambda: [MOST_RUNS]),
    ("security.md", "may unpack to {} times its length, or to {} MiB", lambda: [bounded.RATIO, mib(bounded.FLOOR)]),
    ("data.md", "may unpack to {} times its length, or to {} MiB", lambda: [bounded.RATIO, mib(bounded.FLOOR)]),
    ("data.md", "(a checkpoint to {} times its length or {} MiB)", lambda: [checkpoint._RATIO, mib(checkpoint._FLOOR)]),
    ("data.md", "of CIFAR-10 to {} MiB and its archive to {} MiB", lambda: [mib(cifar._FILE), mib(cifar._ARCHIVE)]),
    ("data.md", "the images of SVHN to {} MiB and their labels to {} MiB", lambda: [mib(svhn._IMAGES), mib(svhn._LABELS)]),
    (
        "security.md",
        "in length ({} KiB; a report {} MiB, a checkpoint's header {} MiB)",
        lambda: [parsing.DESCRIPTION / 1024, mib(run.LARGEST), mib(checkpoint._HEADER_BYTES)],
    ),
    ("security.md", "in depth ({}), in lists and values ({})", lambda: [parsing.DEPTH, parsing.TABLES]),
    ("security.md", "in the digits of a number ({})", lambda: [parsing.DIGITS]),
    ("how-to/own-network.md", "| outputs of a `Conv2D` in a channel | {} (", lambda: [1 << formats.PLACE_BITS]),
    (SETTINGS, "| `digits` | {} | {} | {} | {} | {s}, {} % of a step | {s}, {} % |", lambda: by_planes("digits")),
    (SETTINGS, "| `mlp` | {} | {} | {} | {} | {s}, {} % | {s}, {} % |", lambda: by_planes("mlp")),
    (
        SETTINGS,
        "the `mlp` with B = 128 goes from {} to {} images/s with 4 planes, {} %, and to {} with 1",
        lambda: [*(a := [speed("mlp", 128, g) for g in (8, 4)]), 100 * (a[1] / a[0] - 1), speed("mlp", 128, 1)],
    ),
    (
        SETTINGS,
        "the `mlp` goes from {} images/s at 64 to {} at 128 (8 planes)",
        lambda: [speed("mlp", batch, 8) for batch in (64, 128)],
    ),
    (
        SETTINGS,
        "at 256 {} images/s, at 512 {}; with 4 planes {}, after {} at 128, and {} at 512",
        lambda: [*(speed("mlp", batch, 8) for batch in (256, 512)), *(speed("mlp", batch, 4) for batch in (256, 128, 512))],
    ),
    (
        SETTINGS,
        "bounds the batch: {} for `sim-small`, {} for `pynq-z2`, {} for `pynq-z2-x64`, {} for `pynq-z2-lean`;",
        lambda: [config.tile_rows for config in CONFIGURATIONS.values()],
    ),
    (SETTINGS, "one plane trains {} times as fast as eight", lambda: [speed("cnv", 64, 1) / speed("cnv", 64, 8)]),
    (SETTINGS, "| `cnv` | {} | {} | {} | {} | {s}, {} % | {s}, {} % |", lambda: by_planes("cnv")),
    *(
        (TUNING, f"| {name} | {{}}{' | {} ({})' * len(grid.IMAGES)} |", functools.partial(by_images, name))
        for name in tuned_document.ALL
    ),
    (TUNING, "| time, energy | | {} s, {} J | {} s, {} J | {} s, {} J | {} s, {} J | {} s, {} J |", costs),
    (TUNING, "draws {} W", lambda: [tuned_document.WATTS]),
    (
        TUNING,
        "behind float32 by up to {} points (100 shaded images)",
        lambda: [max(behind(name, images) for name in tuned_document.ALL for images in grid.IMAGES)],
    ),
    (
        TUNING,
        "reaches {} % with fresh averages, and {} % with its old ones",
        lambda: [*few("tuned", 50, "shaded"), *few("kept", 50, "shaded")],
    ),
    (
        TUNING,
        "of two new classes {} % with them, {} % with fresh ones",
        lambda: [*few("kept", 200, grid.CLASSES), *few("tuned", 200, grid.CLASSES)],
    ),
    (
        TUNING,
        "200 shaded images bring {} % then, more than fine-tuning with its {} %. Turned ones need the weights: {} and {} %",
        lambda: [few(form, 200, name)[0] for name in ("shaded", "turned") for form in ("averages", "tuned")],
    ),
    (TUNING, "With a rate of {} hardly", lambda: [grid.STILL]),
    (
        TUNING,
        "200 images reach {} %; at rates of 0.0001 and 0.002 it is {} and {} %. With 10 and 40 epochs it is {} and {} %",
        lambda: [chosen(200), *(chosen(200, rate=r) for r in (0.0001, 0.002)), *(chosen(200, epochs=n) for n in (10, 40))],
    ),
    (TUNING, "has half the steps, and reaches {} %", lambda: [chosen(200, batch=64)]),
    (TUNING, "{} cycles with 32 images, {} with 64", lambda: [batch * tuned_document._cycles(batch) for batch in (32, 64)]),
    (
        TUNING,
        "a fresh network to {} % (turned), {} % (shaded), {} % (noisy) and {} % (two new classes)",
        lambda: few("nothing", 200, *tuned_document.ALL),
    ),
    (
        TUNING,
        "after 200 noisy images it has {} % of the images as they were, after shaded ones {} %",
        lambda: few("tuned", 200, "noisy", "shaded", old=True),
    ),
    (
        TUNING,
        "then it has {} and {} % of the old kind, and {} and {} % of the new, for {} and {} %",
        lambda: [
            number
            for form, old in (("mixed", True), ("mixed", False), ("tuned", False))
            for number in few(form, 200, "noisy", "shaded", old=old)
        ],
    ),
    (
        TUNING,
        "on both sides: {} % for {} % of all classes",
        lambda: [*few("mixed", 200, grid.CLASSES), *few("tuned", 200, grid.CLASSES)],
    ),
    ("pynq.md", "| the MLP, ... | {} MB | {} MB | {} MB |", lambda: [*ddr("mlp", 128), samples("mlp", 128, 60_000)]),
    ("pynq.md", "| CNV, ... | {} MB | {} MB | {} MB |", lambda: [*ddr("cnv", 64), samples("cnv", 64, 50_000)]),
    ("pynq.md", "(CIFAR-10: {} MB with its test images)", lambda: [60_000 * 32 * 32 * 3 / 1e6]),
    ("pynq.md", "| BinaryNet, ... | {} MB | {} MB | {} MB |", lambda: [*ddr("binarynet", 64), samples("binarynet", 64, 50_000)]),
]

# Figures that are not compared: of a page, what they stand in, and why.
OTHERS: list[tuple[str, str, str]] = [
    ("", r"[\d,]+ (training|test )?images?\b|[\d,]+ training and \d+ test images", "sizes of data sets"),
    ("data.md", r"[\d,]+ of \d+ x \d+", "sizes of data sets"),
    ("pynq.md", r"128 MB on a PYNQ image|board with 512 MB", "of boards and their system"),
    ("boards.md", r"0x43C00000, 64 KB", "addresses"),
    ("architecture.md", r"within 4 KB", "a rule of AXI"),
    ("results.md", r"300,000 cycles per CPU\s+second for `sim-small` and 120,000", "other machines differ"),
    ("architecture.md", r"75,300 were estimated|8 cycles of products|34 cycles an image", "on paper"),
    ("", r"204\s+images/s", "the paper's Raspberry Pi"),
    ("how-to/fine-tuning.md", r"1\.6 to 1\.8\s+W of", "MLPerf Tiny's"),
    ("architecture.md", r"(?s)Resources \(`bnnedge synth.*?(?=\n## )", "synthesis takes minutes"),
    ("architecture.md", r"LUTs instead of [\d,]+|instead of [\d,]+ LUTs|some 1,000 bits", "of designs that are no more"),
    ("results.md", r"(?s)\n## Networks at the limits.*", "the campaign takes an hour"),
    ("results.md", r"(?s)\n## The golden model's step.*?(?=\n## )", "other machines differ"),
    ("results.md", r"\(`make train`\): .*\n?.*95\.83 %", "test_last_lines_of_make_train"),
    ("results.md", r"differences below 0\.3 points say nothing", "a judgement, from the spread of seeds"),
    ("results.md", r"at any epoch \| [\d.]+ % \| 5 % \||from the mean \| [\d.]+ % \| 10 % \|", "what was wanted"),
    ("results.md", r"within 5 % of the\s+RTL", "tests/docs/test_cycles.py"),
    ("results.md", r"cost 10 % of its speed", "other machines differ"),
    ("results.md", r"is wanted to reach 82 %|of which 0\.3 were wanted", "what is wanted"),
    ("how-to/own-settings.md", r"gave means of [\d., and]+ %", "test_what_the_search_for_settings_varies_by"),
    ("pynq.md", r"within 1 %, and never faster by more than 0\.1 %", "what the driver tolerates: tests/host/devices"),
    (
        "arithmetic.md",
        r"error of p below 0\.4 %|fell from 4 % to 0\.1 %|in all 3 to 5 % of the codes|43\.7 against 43\.6 %",
        "experiments behind decisions",
    ),
    ("architecture.md", r"12 % off what(?s:.*?)1\.4 %\)|some [23] % of (a step|CNV's step)", "of designs that are no more"),
    ("boards.md", r"(?s)The default, a small configuration.*?(?=\n\n)", "place and route takes minutes"),
]


def pattern(template: str) -> re.Pattern[str]:
    escaped = re.escape(template.strip("\n")).replace(r"\ ", r"\s+")
    for mark, expression in ((r"\{\}", r"([\d.,]*\d)"), (r"\{s\}", r"([a-z0-9 ]+?)"), (r"\.\.\.", r"[^\n]*?")):
        escaped = escaped.replace(mark, expression)
    return re.compile(escaped + ("$" if template.endswith("\n") else ""), re.MULTILINE)


def path_of(page: str) -> Path:
    return ROOT / page if page == "README.md" else ROOT / "docs" / page


def unit(stated: str) -> float:
    """What one more in its last digit would add to a figure; zeros at its end are no digits."""
    digits = stated.replace(",", "")
    if "." in digits:
        return 10.0 ** -len(digits.partition(".")[2])
    return 10.0 ** max(0, min(len(digits) - len(digits.rstrip("0")), len(digits) - 2))  # two digits count at least


def agrees(stated: str, computed: float | str) -> bool:
    if isinstance(computed, str):
        return stated == computed
    return abs(float(stated.replace(",", "")) - computed) <= 0.5001 * unit(stated)


@pytest.mark.parametrize(("page", "template", "figures"), FIGURES, ids=[f"{page}: {text.strip()}" for page, text, _ in FIGURES])
def test_figures(page: str, template: str, figures: Figures) -> None:
    found = pattern(template).findall(path_of(page).read_text())
    assert len(found) == 1, f"{page} has this passage {len(found)} times"
    stated, computed = [found[0]] if isinstance(found[0], str) else list(found[0]), list(figures())
    assert len(stated) == len(computed)
    pairs = [(s, c) for s, c in zip(stated, computed, strict=True) if not agrees(s, c)]
    wrong = [f"{s} is {c if isinstance(c, str) else f'{c:,.2f}'} now" for s, c in pairs]
    assert not wrong, f"{page}, {template.strip()}: {'; '.join(wrong)}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_figure_is_left_out(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", lambda block: " " * len(block[0]), page.read_text(), flags=re.MULTILINE | re.DOTALL)
    name = "README.md" if page.parent == ROOT else str(page.relative_to(ROOT / "docs"))
    seen = [match.span() for of, template, _ in FIGURES if of == name for match in pattern(template).finditer(text)]
    seen += [match.span() for of, expression, _ in OTHERS if of in ("", name) for match in re.finditer(expression, text)]
    unit = r"(?:images/s|cycles|kB|KB|MB|points)\b|%"
    numbers = re.finditer(rf"\b\d{{1,3}}(?:,\d{{3}})+\b|\b[\d.,]*\d(?=\s+(?:{unit}))", text)
    left = [text[max(0, n.start() - 30) : n.end() + 15] for n in numbers if not any(a <= n.start() < b for a, b in seen)]
    assert not left, f"{page.name}: compare these in FIGURES, or say in OTHERS why not: {left}"


@pytest.mark.parametrize("page", sorted({page for page, *_ in OTHERS}))
def test_every_exception_is_needed(page: str) -> None:
    texts = [path.read_text() for path in PAGES if not page or path == path_of(page)]
    for of, expression, _ in OTHERS:
        assert of != page or any(re.search(expression, text) for text in texts), expression


@pytest.mark.parametrize(
    ("stated", "computed", "right"),
    [("371", 381.6, False), ("382", 381.6, True), ("73,400", 73_438.0, True), ("73,400", 73_451.0, False), ("6.5", 6.6, False)],
)
def test_a_figure_is_right_if_the_computed_one_rounds_to_it(stated: str, computed: float, right: bool) -> None:
    assert agrees(stated, computed) == right


@pytest.mark.parametrize(
    ("name", "make"), [("MLP", mlp), ("CNV", cnv), pytest.param("BinaryNet", binarynet, marks=pytest.mark.long)]
)
def test_table_of_memory(name: str, make: Callable[[], Network], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(memory, "NETWORKS", {name: make})
    monkeypatch.setattr(memory, "_bars", lambda bills, path: None)
    document, _ = memory.write(tmp_path)
    rows = [line for line in document.read_text().splitlines() if line.startswith(f"| {name} ")]
    page = (ROOT / "docs" / "results" / "memory.md").read_text().splitlines()
    assert rows == [line for line in page if line.startswith(f"| {name} ")], "run bnnedge study memory --out docs/results"


def accuracy(folder: Path, *options: str) -> float:
    """Test accuracy in % that `bnnedge train` reports of a training on digits."""
    assert cli.main(["train", "--data", "digits", "--device", "golden", "--out", str(folder), *options]) == 0
    return 100 * json.loads((folder / "report.json").read_text())["test_accuracy"]


@pytest.mark.long
def test_accuracies_of_digits_by_settings(tmp_path: Path) -> None:
    line = re.compile(r"^\| (the defaults|`(--[^`]+)`)[^|]*\| ([\d., ]+) \| ([\d.]+) \|$", re.MULTILINE)
    rows = line.findall(path_of(SETTINGS).read_text())
    assert len(rows) == 12
    for name, options, seeds, mean in rows:
        found = [accuracy(tmp_path, "--epochs", "10", "--seed", str(seed), *options.split()) for seed in (1, 2, 3)]
        assert [f"{each:.1f}" for each in found] == seeds.split(", "), name
        assert agrees(mean, statistics.fmean(found)), name


@pytest.mark.long
def test_what_the_search_for_settings_varies_by(tmp_path: Path) -> None:
    page = " ".join(path_of("how-to/own-settings.md").read_text().split())
    ((stated, others),) = re.findall(r"search with (`--seed .*?`) ends at rates ([^:]*?)\. ", page)
    ends = []
    for seed in re.findall(r"--seed (\d)", stated):
        assert cli.main(["tune", "--data", "digits", "--seed", seed, "--out", str(tmp_path)]) == 0
        ends.append(f"{json.loads((tmp_path / 'tuning.json').read_text())['best']['rate']:g}")
    assert ends == others.split(" and ")
    ((rates, means),) = re.findall(r"With rates ([\d., and]+), 30 epochs .*? gave means of ([\d., and]+) %", page)
    for rate_, mean in zip(*(re.findall(r"\d+\.\d+", text) for text in (rates, means)), strict=True):
        found = [accuracy(tmp_path, "--epochs", "30", "--rate", rate_, "--seed", str(seed)) for seed in (1, 2, 3)]
        assert agrees(mean, statistics.fmean(found)), rate_


def shown_of_make_train() -> list[str]:
    """Its last lines, as README shows them."""
    (block,) = re.findall(r"It ends with\n\n```text\n(.*?)```", path_of("README.md").read_text(), re.DOTALL)
    return without_seconds(block).splitlines()


def without_seconds(text: str) -> str:
    return re.sub(r"\([\d.]+ s\)", "(s)", text)


def make_train() -> list[str]:
    """The options of the command that `make train` runs."""
    (command,) = re.findall(r"^train:.*\n\t\S+ bnnedge train (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    return str(command).split()


def test_last_lines_of_make_train_that_any_device_prints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    options = [word for word in make_train() if word not in ("--check", "--reference")]
    options[options.index("--device") + 1] = "golden"
    assert cli.main(["train", *options]) == 0
    printed = without_seconds(capsys.readouterr().out).splitlines()
    shown, last = shown_of_make_train(), [line for line in printed if not line.startswith("epoch ")][-3:]
    assert [line for line in shown if line in last] == last
    ((count, speed),) = re.findall(r"^(\d+) cycles per image: ([\d,]+) images/s at 100 MHz$", "\n".join(shown), re.MULTILINE)
    measured = rtl("digits", "sim-small", 64, 8)
    assert agrees(count, measured)
    assert float(speed.replace(",", "")) == pytest.approx(rate(measured, "sim-small"), rel=1e-3)


@pytest.mark.long
def test_last_lines_of_make_train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["train", *make_train()]) == 0
    shown = shown_of_make_train()
    assert without_seconds(capsys.readouterr().out).splitlines()[-len(shown) :] == shown
    report = json.loads((tmp_path / "runs" / "digits" / "report.json").read_text())
    found, reference = (100 * report[name] for name in ("test_accuracy", "reference_accuracy"))
    passages = [("README.md", "x 32 bits | {} % ({} %)"), ("results.md", "(`make train`): {} %, float32 standard (...) {} %")]
    for page, template in passages:
        ((stated, standard),) = pattern(template).findall(path_of(page).read_text())
        assert agrees(stated, found)
        assert agrees(standard, reference)


@pytest.mark.parametrize("path", sorted((ROOT / "docs" / "results").glob("*.csv")), ids=lambda path: path.stem)
def test_documents_of_studies_are_those_of_their_rows(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if path.stem == "cycles":  # no study
        return
    if path.stem == "fine-tuning":
        rows = finetuning.read(path)
        assert list(rows) == grid.runs()
        assert tuned_document.markdown(rows, path.name) == path.with_suffix(".md").read_text(), "run bnnedge study fine-tuning"
        return
    monkeypatch.setattr(report, "draw", lambda *arguments: None)
    document, _ = report.write(load_study(path.stem), Table(path), tmp_path)
    assert document.read_text() == path.with_suffix(".md").read_text(), f"run bnnedge study {path.stem} --out docs/results"
