"""Studies: what a grid expands to, tables that survive, workers that die, and the document."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from bnnedge import cli, formats
from bnnedge.sim.study import STUDIES, Run, Table, load_study
from bnnedge.sim.study.picture import draw
from bnnedge.sim.study.report import write
from bnnedge.sim.study.table import Row
from bnnedge.sim.study.training import carry_out

GRID = """
title: A trial
text: Of no importance.
common: {data: digits, network: digits, epochs: 1, batch: 64, config: sim-small, samples: 128}
seeds: [1, 2]
runs:
  - {label: standard, model: standard, rate: 1e-2}
  - {label: "g = {gradient_planes}", model: integer, gradient_planes: [8, 2]}
paper: {standard: 98.5}
"""


@pytest.fixture
def grid(tmp_path: Path) -> Path:
    path = tmp_path / "trial.yaml"
    path.write_text(GRID)
    return path


def row(run: Run, accuracy: float = 0.5) -> Row:
    return Row(run, accuracy, 0.75, 1.25, 3.0, (0.25, accuracy))


LABELS = [
    *(2 * (text,) for text in ("{planes}", "{batch!r}", "{batch.real}", "{label}", "{data[0]}", "{}", "{0}")),
    ("{gradient_planes:>2000000000}", "{gradient_planes:>2000000000}"),
    ("{{batch", "{"),
    ("batch}", "}"),
]


class TestGrid:
    def test_lists_and_seeds_are_multiplied(self, grid):
        study = load_study(grid)
        assert study.labels == ("standard", "g = 8", "g = 2")
        assert [(run.label, run.seed) for run in study.runs] == [(label, seed) for label in study.labels for seed in (1, 2)]
        assert study.runs[0].rate == 0.01
        assert len({run.key for run in study.runs}) == 6

    @pytest.mark.parametrize(("given", "wanted"), [("3", [3]), ("[4, 3]", [4, 3])])
    def test_a_run_may_have_seeds_of_its_own(self, grid, given, wanted):
        grid.write_text(GRID.replace("rate: 1e-2", f"rate: 1e-2, seed: {given}"))
        runs = load_study(grid).runs
        assert [run.seed for run in runs if run.label == "standard"] == wanted
        assert [run.seed for run in runs if run.label == "g = 8"] == [1, 2]

    def test_a_key_is_of_what_is_computed(self, grid):
        one = load_study(grid).runs[2]
        grid.write_text(GRID.replace("g = {", "planes {"))
        other = load_study(grid).runs[2]
        assert (one.label, other.label) == ("g = 8", "planes 8")
        assert one.key == other.key

    def test_a_key_is_of_the_integer_arithmetic(self, grid, tmp_path, monkeypatch):
        """Results of another arithmetic are not taken for this one's; float32 has none."""
        runs, table = load_study(grid).runs, Table(tmp_path / "t.csv")
        before = [run.key for run in runs]
        table.add(row(runs[0]))
        kept = table.path.read_text()
        table.add(row(runs[2]))
        monkeypatch.setattr(formats, "VERSION", formats.VERSION + 1)
        after = [run.key for run in load_study(grid).runs]
        assert [one == other for one, other in zip(before, after, strict=True)] == [True] * 2 + [False] * 4
        with pytest.raises(
            ValueError, match=r"t.csv, line 3: key .*; before arithmetic 4 the integer form trained otherwise: delete"
        ):
            Table(table.path)
        table.path.write_text(kept)
        assert len(Table(table.path).rows) == 1

    @pytest.mark.parametrize("name", STUDIES)
    def test_built_in_studies_can_be_read(self, name):
        study = load_study(name)
        assert study.runs
        assert set(study.paper) <= set(study.labels)

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            (("title: A trial\n", ""), "needs a title and a list of runs"),
            (
                ("standard, rate", "perfect, rate"),
                "entry 1 of runs: model must be one of integer, method, standard, ablation, tanh, pytorch, pytorch-method, "
                "not 'perfect'",
            ),
            (("rate: 1e-2", "speed: 1"), "entry 1 of runs: there is no speed; there are label, model"),
            *((("{gradient_planes}", text), f"entry 2 of runs: label .*: '{re.escape(said)}' is no ") for text, said in LABELS),
            (
                ("model: standard, rate: 1e-2", "model: tanh, rate: 1e-2, augment: shift"),
                "entry 1 of runs: augment is of binary networks, not of model 'tanh'",
            ),
            (("rate: 1e-2", "rate: 1e-2, augment: turn"), "entry 1 of runs: must be shift, shift=SHARE, flip"),
            (
                ("model: standard, rate: 1e-2", "model: pytorch, optimiser: adam"),
                "entry 1 of runs: optimiser is not for model 'pytorch', which trains with Adam",
            ),
            (("rate: 1e-2", "rate: 1e-2, seed: 1.5"), "entry 1 of runs: seed is 1.5, and must be a whole number"),
            (("rate: 1e-2", "rate: 1e-2, seed: [1, -1]"), "entry 1 of runs: seed must be in 0..1.84467e\\+19, not -1"),
            (("rate: 1e-2", "rate: 1e-2, seed: []"), "entry 1 of runs: seed is an empty list"),
            (("planes: [8, 2]", "planes: 8, rounding: up"), "entry 2 of runs: rounding must be one of random, nearest, not 'up'"),
            (("label: standard,", "label: 8,"), "entry 1 of runs: label is 8, and must be text of up to 255 printable"),
            (("label: standard,", 'label: "a\\0b",'), "entry 1 of runs: label is 'a.x00b', and must be text"),
            (("{standard: 98.5}", "3"), "paper is 3, and must be a table"),
            (("98.5", "98.5%"), "paper: 'standard' must have an accuracy in %, 0..100, not '98.5%'"),
            (("98.5", "true"), "paper: 'standard' must have an accuracy in %, 0..100, not True"),
            (("A trial", "8"), "title is 8, and must be text"),
            (("Of no importance.", "[]"), "text is \\[\\], and must be text"),
            (("common: ", "common: 5 # "), "common is 5, and must be a table"),
            (("[1, 2]", "3"), "seeds is 3, and must be a list"),
            (("[1, 2]", "[]"), r"seeds must be a list of whole numbers, not \[\]"),
            (("[1, 2]", "[1.5]"), "seeds must be a list of whole numbers"),
            (("[1, 2]", "[-1]"), "entry 1 of runs: seed must be in 0..1.84467e\\+19, not -1"),
            (("- {label: standard", "- 8 # "), "entry 1 of runs: must be a table"),
            (("- {label: standard", "- [] # "), "entry 1 of runs: must be a table"),
            (("label: standard, ", ""), "entry 1 of runs: it needs label"),
            (("rate: 1e-2", "rate: fast"), "entry 1 of runs: rate is 'fast', and must be a number"),
            (("rate: 1e-2", "rate: 0"), "entry 1 of runs: rate must be above 0"),
            (("rate: 1e-2", "rate: 1e400"), "line 7, column .*: 1e400 is no finite number"),
            (("rate: 1e-2", "rate: yes"), "entry 1 of runs: rate is True, and must be a number"),
            (("epochs: 1", "epochs: 0"), "entry 1 of runs: epochs must be in 1"),
            (("epochs: 1", "epochs: 2024-01-01"), "entry 1 of runs: epochs is '2024-01-01', and must be a whole number"),
            (("rate: 1e-2", "rate: {a: 1}"), "entry 1 of runs: rate is {'a': 1}, and must be a number"),
            (("rate: 1e-2", "data: 5"), "entry 1 of runs: data is 5, and must be text"),
            (("rate: 1e-2", "schedule: fast"), "entry 1 of runs: schedule must be one of cosine"),
            (("rate: 1e-2", "config: fast"), "entry 1 of runs: there is no configuration 'fast'"),
            (("rate: 1e-2", "latent: 3"), "entry 1 of runs: latent of configuration 'sim-small' must be a whole number in 4..10"),
            (("rate: 1e-2", "momentum: 1"), "entry 1 of runs: rate must be above 0 and momentum below 1"),
            (("[8, 2]", "[8, 9]"), "entry 2 of runs: gradient_planes must be in 1..8, not 9"),
            (("[8, 2]", "8, batch: 65"), "entry 2 of runs: batch must be a multiple of 16, not 65; 64 and 80 fit"),
            (("[8, 2]", "'8,x'"), "entry 2 of runs: gradient planes must be auto, a number, or one for each layer .*, not '8,x'"),
            (("[8, 2]", "'9,8'"), r"entry 2 of runs: gradient_planes must be 'auto', .*, not \(9, 8\)"),
            (("[8, 2]", "8, augment: turn"), "entry 2 of runs: must be shift, shift=SHARE, flip"),
            (("[8, 2]", "[" + "1, " * 6000 + "]"), "entry 2 of runs: with it, the study has more than 10,000 runs"),
            (("[8, 2]", "&a [8]\n    slope_planes: *a"), "line 8, column .*: anchors"),
            (("seeds:", "title: again\nseeds:"), "line 5, column 1: the key 'title' stands twice"),
            (("seeds: [1, 2]", "seeds: " + "[" * 3000), "line 5, column .*: lists and tables are nested more than 20 deep"),
            (("runs:", "runs: ["), "is not YAML"),
        ],
    )
    def test_errors(self, grid, change, said):
        grid.write_text(GRID.replace(*change))
        with pytest.raises(ValueError, match=said):
            load_study(grid)

    def test_unknown_study(self):
        with pytest.raises(ValueError, match=r"neither a built-in one .*mnist.* nor a file"):
            load_study("nothing")


class TestTable:
    def test_is_read_as_it_was_written(self, grid, tmp_path):
        table = Table(tmp_path / "t.csv")
        for number, run in enumerate(load_study(grid).runs):
            table.add(dataclasses.replace(row(run, number / 8), train_curve=(0.5, 0.75) if number else ()))
        assert Table(tmp_path / "t.csv").rows == table.rows

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            (("key,", "keys,"), "is no table"),
            ((",0.5,0.75", ",half,0.75"), "line 2: .*half"),
            (("digits,digits", "x,digits"), "line 2: key"),
            (("0.25 0.5", ""), "line 2: curve is empty"),
            (("0.25 0.5,,", "0.25 0.5,,0.75"), "line 2: train_curve has 1 epochs, and curve 2"),
            (("0.25 0.5,,", "0.25 0.5,,0.75 2"), "line 2: train_curve must be a number in 0..1, not 2"),
            (("0.25 0.5", "0.25 1.5"), "line 2: curve must be a number in 0..1, not 1.5"),
            ((",0.5,", ",nan,"), "line 2: accuracy must be a number in 0..1, not nan"),
            ((",3,", ",inf,"), "line 2: seconds must be a number in 0..1e\\+09, not inf"),
            ((",64,", ",64.5,"), "line 2: .*64.5"),
            ((",64,", "," + "9" * 5000 + ","), "line 2: "),
            ((",64,", ","), "line 2: it has 28 of 29 columns"),
            ((",64,", ",64,64,"), "line 2: it has 30 of 29 columns"),
            ((",64,", "\n64,"), "line 2: it has .* of 29 columns"),
            ((",64,", ',"64"x,'), "line 2: "),
            ((",64,", ',"64,'), "line 2: "),
            ((",64,", ",\0,"), "line 2: "),
            (("standard,", "x" * 200_000 + ","), "line 2: field larger than field limit"),
        ],
    )
    def test_damage_is_noticed(self, grid, tmp_path, change, said):
        table = Table(tmp_path / "t.csv")
        table.add(row(load_study(grid).runs[0]))
        table.path.write_text(table.path.read_text().replace(*change))
        with pytest.raises(ValueError, match=said) as caught:
            Table(table.path)
        assert str(caught.value).startswith(str(table.path))
        assert str(caught.value).endswith("delete what is damaged, or the file, and the study runs again what it lacks")

    def test_a_row_cut_short_anywhere_is_noticed(self, grid, tmp_path):
        table = Table(tmp_path / "t.csv")
        for run in load_study(grid).runs[:2]:
            table.add(row(run))
        whole = table.path.read_bytes()
        ends = [place + 1 for place, byte in enumerate(whole) if byte == ord("\n")]
        for length in range(len(whole)):
            table.path.write_bytes(whole[:length])
            if length in ends:
                assert len(Table(table.path).rows) == ends.index(length)
            else:
                with pytest.raises(ValueError, match=r"t.csv, line .*: delete what is damaged"):
                    Table(table.path)

    def test_text_in_no_encoding(self, tmp_path):
        (tmp_path / "t.csv").write_bytes(b"key\n\xff")
        with pytest.raises(ValueError, match=r"t.csv: line 2 is not UTF-8 text \(byte 4 is 0xff\)"):
            Table(tmp_path / "t.csv")

    def test_trainings_that_went_astray_can_be_kept(self, grid, tmp_path):
        table = Table(tmp_path / "t.csv")
        table.add(dataclasses.replace(row(load_study(grid).runs[0]), loss=float("nan"), spread=(float("inf"),)))
        assert len(Table(tmp_path / "t.csv").rows) == 1


def test_holdout_leaves_the_test_set_alone(grid):
    run = load_study(grid).runs[2]
    held = dataclasses.replace(run, holdout=28, samples=128)
    assert carry_out(held).accuracy * 28 == pytest.approx(round(carry_out(held).accuracy * 28), abs=1e-6)
    assert carry_out(run).accuracy * 360 == pytest.approx(round(carry_out(run).accuracy * 360), abs=1e-6)


def test_a_run_is_what_the_trainer_does(grid):
    run = load_study(grid).runs[2]
    first, again = carry_out(run), carry_out(run)
    assert (first.accuracy, first.loss, first.curve) == (again.accuracy, again.loss, again.curve)


@pytest.mark.parametrize(
    "change", [{"rounding": "nearest"}, {"augment": "shift"}, {"optimiser": "sign-sgd"}, {"latent": 6}, {"schedule": "constant"}]
)
def test_settings_of_the_integer_form_arrive(grid, change):
    run = load_study(grid).runs[2]
    plain, changed = (carry_out(dataclasses.replace(run, epochs=2, **more)) for more in ({}, change))
    assert plain.loss != changed.loss


def test_latent_weights_are_those_of_the_configuration(grid):
    run = dataclasses.replace(load_study(grid).runs[2], epochs=1, config="pynq-z2-lean")
    lean, told, wide = (carry_out(dataclasses.replace(run, latent=bits)).loss for bits in (0, 6, 10))
    assert lean == told != wide


@pytest.mark.parametrize("change", [{"optimiser": "sign-bop"}, {"model": "ablation", "steps": "no-psi"}, {"augment": "shift"}])
def test_settings_in_float_arrive(grid, change):
    run = load_study(grid).runs[0]
    assert carry_out(run).loss != carry_out(dataclasses.replace(run, **change)).loss


@pytest.mark.parametrize("number", [0, 2])
def test_rows_have_the_curve_of_training(grid, number):
    found = carry_out(dataclasses.replace(load_study(grid).runs[number], epochs=2))
    assert len(found.train_curve) == 2
    assert found.train_curve[0] < found.train_curve[1] == found.train_accuracy


def test_arrays_of_another_library(grid):
    pytest.importorskip("array_api_strict")
    run = dataclasses.replace(load_study(grid).runs[2], epochs=1, samples=256)
    here, there = carry_out(run), carry_out(run, "array_api_strict")
    assert (here.loss, here.curve, here.spread) == (there.loss, there.curve, there.spread)


def test_arrays_that_are_not_there(grid, tmp_path, capsys):
    assert cli.main(["study", str(grid), "--out", str(tmp_path / "out"), "--arrays", "jax"]) != 0
    assert "arrays must be one of numpy, torch, cupy" in capsys.readouterr().err


def test_tanh_networks(grid, tmp_path):
    runs = "".join(
        f"  - {{label: tanh {b}, model: tanh, batch: {b}, rate: {r}, momentum: 0.5}}\n" for b, r in ((32, 0.05), (64, 0.1))
    )
    start, _, rest = GRID.partition("runs:")
    grid.write_text(f"{start}runs:\n{runs}" + rest[rest.find("paper:") :])
    study, table = load_study(grid), Table(tmp_path / "trial.csv")
    for run in study.runs:
        table.add(carry_out(run))
    found = Table(table.path).rows[study.runs[0].key]
    assert len(found.spread) == study.runs[0].epochs + 1
    assert found.spread[0] == pytest.approx(0.5, abs=0.03)
    assert found.accuracy == found.curve[-1] > 0
    text = write(study, table, tmp_path)[0].read_text()
    assert "A / x of all runs lies within" in text
    assert "| 0.00313 | 4 |" in text
    assert "0.5" in text.split("tanh 32")[1].split("|")[7]


def test_document(grid, tmp_path):
    study, table = load_study(grid), Table(tmp_path / "trial.csv")
    for run, accuracy in zip(study.runs[:3], (0.5, 0.75, 0.25), strict=False):
        table.add(row(run, accuracy))
    document, picture = write(study, table, tmp_path)
    text = document.read_text()
    assert "| standard | 2 | 62.50 +- 17.68 | 75.00 | 50.00 (seed 1) | 75.00 | 1.250 | 98.50 |" in text
    assert "| g = 8 | 1 of 2 | 25.00 | 25.00 | 25.00 (seed 1) | 75.00 | 1.250 |  |" in text
    assert "| g = 2 | 0 of 2 |" in text
    assert "<svg" in picture.read_text()


def test_document_of_long_runs_says_how_steady_they_end(grid, tmp_path):
    short = load_study(grid)
    runs = [dataclasses.replace(run, epochs=epochs) for run, epochs in zip(short.runs[:3], (40, 40, 39), strict=True)]
    study, table = dataclasses.replace(short, runs=tuple(runs)), Table(tmp_path / "trial.csv")
    tails = (0.5, 0.53, 0.53, 0.49, 0.49), (0.5, 0.5, 0.5, 0.5, 0.5), (0.1, 0.9, 0.1, 0.9, 0.1)
    for run, tail in zip(runs, tails, strict=True):
        curve = (0.1, 0.9) * 17 + (0.9,) * (run.epochs - 39) + tail
        table.add(dataclasses.replace(row(run, tail[-1]), curve=curve))
    text = write(study, table, tmp_path)[0].read_text()
    assert "| standard | 2 | 49.50 +- 0.71 | 50.00 | 49.00 (seed 1) | 75.00 | 1.250 | 1.77 | 98.50 |" in text  # sqrt(25 / 8)
    assert "| g = 8 | 1 | 10.00 | 10.00 | 10.00 (seed 1) | 75.00 | 1.250 |  |  |" in text


def test_document_says_what_all_runs_have_in_common(grid, tmp_path):
    grid.write_text(GRID.replace("samples: 128", 'samples: 128, augment: "shift=0.125,flip"'))
    study, table = load_study(grid), Table(tmp_path / "trial.csv")
    table.add(row(study.runs[0]))
    wanted = "data digits, network digits, epochs 1, batch 64, augment shift=0.125,flip, samples 128, schedule cosine"
    assert f"All runs: {wanted}." in write(study, table, tmp_path)[0].read_text()


def test_picture_of_many_lines(grid, tmp_path):
    run = load_study(grid).runs[0]
    groups = {f"line {i}": [row(run, 0.5 + i / 100), row(run, 0.51 + i / 100)] for i in range(13)}
    draw("many", groups | {"failed": [row(run, 0.1)], "none": []}, tmp_path / "a.svg")
    first = (tmp_path / "a.svg").read_bytes()
    draw("many", groups | {"failed": [row(run, 0.1)]}, tmp_path / "a.svg")
    assert first == (tmp_path / "a.svg").read_bytes()
    assert b"line 12" in first
    assert "\N{LEFTWARDS ARROW} 10.0".encode() in first


def test_document_of_runs_that_have_not_ended(grid, tmp_path):
    study, table = load_study(grid), Table(tmp_path / "trial.csv")
    table.add(row(study.runs[0], 0.5))
    going = [row(study.runs[1], 0.875), row(study.runs[2], 0.25)]
    document, picture = write(study, table, tmp_path, [dataclasses.replace(one, curve=(0.9, one.accuracy)) for one in going])
    text = document.read_text()
    assert "| standard | 1 of 2 | 50.00 | 50.00 | 50.00 (seed 1) | 75.00 | 1.250 | 98.50 |" in text
    assert "| g = 8 | 0 of 2 |" in text
    assert "| standard | 2 | 2 of 1 | 87.50 | 90.00 |" in text
    assert "| g = 8 | 1 | 2 of 1 | 25.00 | 90.00 |" in text
    drawn = picture.read_text()
    assert "standard, unfinished" in drawn
    assert "g = 8, unfinished" in drawn
    table.rows.clear()
    document, _ = write(study, table, tmp_path, going)
    assert "| standard | 0 of 2 |" in document.read_text()


def test_picture_of_many_that_have_not_ended(grid, tmp_path):
    run = load_study(grid).runs[0]
    going = [row(dataclasses.replace(run, label=f"line {i}")) for i in range(13)]
    draw("many", {one.run.label: [] for one in going}, tmp_path / "a.svg", going)
    assert b"line 12, unfinished" in (tmp_path / "a.svg").read_bytes()
    draw("many", {one.run.label: [one] for one in going}, tmp_path / "a.svg", going[:1])
    assert b"unfinished" not in (tmp_path / "a.svg").read_bytes(), "their accuracies would mean nothing"


def test_the_curve_of_training_is_dotted(grid, tmp_path):
    one, other = (row(run) for run in load_study(grid).runs[:2])
    trained = dataclasses.replace(one, train_curve=(0.25, 0.75))
    pictures = []
    for rows in ([one, other], [trained, other], [trained, trained]):  # it is of all rows of a line, or not there
        draw("two", {"a": rows}, tmp_path / "a.svg")
        pictures.append((tmp_path / "a.svg").read_text())
    assert ["stroke-dasharray: 0.8,1.32" in picture for picture in pictures] == [False, False, True]
    assert ["dotted: of training" in picture for picture in pictures] == [False, False, True]


def test_nothing_to_report(grid, tmp_path):
    with pytest.raises(ValueError, match="none of the runs"):
        write(load_study(grid), Table(tmp_path / "t.csv"), tmp_path)


def test_command_goes_on_where_it_was(grid, tmp_path, capsys):
    pytest.importorskip("distributed")
    out = tmp_path / "out"
    study = load_study(grid)
    table = Table(out / "trial.csv")
    kept = row(study.runs[1], 0.125)
    table.add(kept)
    assert cli.main(["study", str(grid), "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "6 runs, 1 of them done" in printed
    assert "0 to go" in printed
    rows = Table(out / "trial.csv").rows
    assert set(rows) == {run.key for run in study.runs}
    assert rows[kept.run.key] == kept, "what was done is not done again"
    assert cli.main(["study", str(grid), "--out", str(out)]) == 0
    assert "to go" not in capsys.readouterr().out


def test_a_run_that_fails_is_named(grid, tmp_path, capsys):
    pytest.importorskip("distributed")
    grid.write_text(GRID.replace("gradient_planes: [8, 2]", "gradient_planes: 8, samples: [128, 5000]"))
    assert cli.main(["study", str(grid), "--out", str(tmp_path / "out")]) == 1
    error = capsys.readouterr().err
    assert "failed: g = 8, seed 1: samples 5000, holdout 0: digits has 1437 training images" in error
    assert len(Table(tmp_path / "out" / "trial.csv").rows) == 4


def test_runs_of_pytorch_are_left_out_and_told(grid, tmp_path, capsys):
    grid.write_text(
        GRID.replace("model: standard", "model: pytorch").replace("[8, 2]", "8").replace("seeds: [1, 2]", "seeds: [1, 3]")
    )
    study, out = load_study(grid), tmp_path / "out"
    with pytest.raises(ValueError, match=r"model 'pytorch' is trained by tests/benchmarks/standard\.py of the repository"):
        carry_out(study.runs[0])
    table = Table(out / "trial.csv")
    for run in study.runs[2:]:
        table.add(row(run))
    assert cli.main(["study", str(grid), "--out", str(out)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == [
        "A trial: 4 runs, 2 of them done",
        f"not trained here, but by python tests/benchmarks/standard.py {grid} --out {out}: standard, seeds 1, 3",
    ]
    text = (out / "trial.md").read_text()
    assert "| standard | 0 of 2 |" in text
    assert "`bnnedge study trial`, `python tests/benchmarks/standard.py trial`" in text
    table.add(row(study.runs[0]))
    table.add(row(study.runs[1]))
    assert cli.main(["study", str(grid), "--out", str(out)]) == 0
    assert "not trained here" not in capsys.readouterr().out
