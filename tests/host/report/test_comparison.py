"""Runs side by side: what differs, what came out, and the page."""

from __future__ import annotations

import argparse
import html.parser
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from bnnedge.commands import compare as command
from bnnedge.report.comparison import compare, text
from bnnedge.report.run import load_run

Amend = Callable[..., Path]


@pytest.fixture
def other(amend: Amend) -> Path:
    """The run with other settings and results, in a folder `run`."""
    settings = {"batch": 128, "gradient_planes": 3, "input_planes": 8, "slope_planes": 2, "optimiser": "sign-momentum", "seed": 1}
    return amend(
        settings={**settings, "rate": 0.02, "schedule": "cosine", "augment": "none"},
        test_accuracy=0.5,
        cycles_per_image=371.4,
        images_per_second=269251.0,
        reference_accuracy=None,
        bit_exact=True,
        checked_steps=2,
    )


def run(*arguments: object) -> int:
    parser = argparse.ArgumentParser()
    command.add(parser)
    return command.run(parser.parse_args([str(argument) for argument in arguments]))


def test_table(trained: Path, other: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = json.loads((trained / "report.json").read_text())
    assert run(trained, other) == 0
    lines = [re.split(r"\s{2,}", line.strip()) for line in capsys.readouterr().out.splitlines()]
    results = lines.index(["results"])
    assert lines[: results + 1] == [
        ["digits", "run"],
        ["settings that differ"],
        ["batch", "64", "128"],
        ["gradient planes", "auto", "3"],
        ["rate", "0.03", "0.02"],
        ["results"],
    ]
    assert ["test accuracy", f"{100 * report['test_accuracy']:.2f} %", "50.00 %"] in lines[results:]
    assert ["float32 standard", f"{100 * report['reference_accuracy']:.2f} %", "–"] in lines[results:]
    assert ["cycles per image", "–", "371"] in lines[results:]
    assert ["bit-exact", "–", "yes"] in lines[results:]
    assert ["steps checked", "–", "2"] in lines[results:]
    assert "engine busy" not in [line[0] for line in lines]


def test_columns_are_aligned(trained: Path, other: Path) -> None:
    lines = text(compare([load_run(trained), load_run(other)])).splitlines()
    assert len({len(line) for line in lines if line not in ("settings that differ", "results")}) == 1


def test_equal_runs(trained: Path, folder: Path) -> None:
    found = compare([load_run(trained), load_run(folder)])
    assert found.settings == []
    assert "no setting differs" in text(found)


def test_names_differ(trained: Path, other: Path) -> None:
    assert compare([load_run(trained), load_run(other)]).names == ["digits", "run"]
    doubled = compare([load_run(trained), load_run(trained), load_run(other)])
    assert doubled.names == [f"{trained} (1)", f"{trained} (2)", str(other)]


def test_data_sets_that_differ_are_said(trained: Path, amend: Amend, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(trained, amend(data="<mnist>"), "--out", tmp_path / "page.html") == 0
    printed = capsys.readouterr().out
    assert "\nthe runs are of different data sets (digits, <mnist>): their accuracies do not compare\n" in printed
    page = (tmp_path / "page.html").read_text()
    assert "Note: the runs are of different data sets (digits, &lt;mnist&gt;)" in page
    assert "<mnist>" not in page


def test_page(trained: Path, other: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "new" / "page.html"
    assert run(trained, other, "--out", path) == 0
    assert capsys.readouterr().out.endswith(f"\n{path}\n")
    page = path.read_text(encoding="utf-8")
    html.parser.HTMLParser().feed(page)
    assert re.findall(r"<h2>([^<]*)", page) == ["Results", "Learning curves", "Settings that differ"]
    assert page.count("<svg") == 4
    assert page.count("<polyline") == 8  # two runs in each picture
    assert "<td>gradient planes</td><td>auto</td><td>3</td>" in page
    assert not re.search(r"src=|href=|url\(|<script|<link", page)


def test_errors(trained: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="none: there is no such folder"):
        run(trained, tmp_path / "none")
    with pytest.raises(SystemExit):
        run(trained)
    with pytest.raises(ValueError, match="two runs or more, not 1"):
        compare([load_run(trained)])
