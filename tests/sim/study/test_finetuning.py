"""Fine-tuning on few images: conditions, the network that is handed over, the table, and the whole study on digits."""

from __future__ import annotations

import csv

import numpy as np
import pytest

from bnnedge import Trainer, data, importer
from bnnedge.network import digits
from bnnedge.sim.reference import Standard, fit, scale_pixels
from bnnedge.sim.study import finetuning
from bnnedge.sim.study.finetuning import document, experiment, grid, table
from bnnedge.sim.study.finetuning.conditions import CONDITIONS, noisy, shaded, turned
from bnnedge.sim.study.finetuning.grid import CLASSES, FORMS, Row, Run
from bnnedge.sim.study.finetuning.handed import model

IMAGES = np.random.RandomState(1).randint(0, 256, (3, 9, 9)).astype(np.uint8)


def test_turned_images_agree_with_pillow():
    image = pytest.importorskip("PIL.Image")
    smooth = np.zeros((1, 28, 28))
    smooth[0, 6:20, 8:14] = 200
    smooth[0, 10:14, 8:22] = 120
    smooth = smooth.astype(np.uint8)
    other = image.fromarray(smooth[0]).rotate(25, resample=image.Resampling.BILINEAR)
    assert np.abs(turned(smooth)[0].astype(int) - np.asarray(other).astype(int)).max() <= 2
    assert np.abs(turned(smooth)[0].astype(int) - smooth[0]).max() > 100


def test_black_comes_in_at_the_corners():
    found = turned(np.full((1, 9, 9), 255, np.uint8))[0]
    assert found[4, 4] == 255
    assert found[0, 0] == found[0, 8] == found[8, 0] == found[8, 8] == 0


def test_shaded_images_are_brighter_at_the_right():
    found = shaded(np.full((1, 4, 6), 200, np.uint8))[0]
    assert found[0].tolist() == [70, 100, 130, 160, 190, 220]
    assert shaded(np.full((1, 4, 6), 255, np.uint8)).max() < 256


def test_noise_is_drawn_by_the_seed():
    grey = np.full((50, 9, 9), 128, np.uint8)
    found = noisy(grey, 1)
    assert np.array_equal(found, noisy(grey, 1))
    assert not np.array_equal(found, noisy(grey, 2))
    assert abs(found.astype(float).mean() - 128) < 3
    assert (found == 0).any()
    assert (found == 255).any()


@pytest.mark.parametrize("name", CONDITIONS)
def test_conditions_leave_images_as_they_are(name):
    before = IMAGES.copy()
    found = CONDITIONS[name](IMAGES, 1)
    assert np.array_equal(IMAGES, before)
    assert (found.dtype, found.shape) == (np.uint8, IMAGES.shape)


def test_the_device_takes_over_what_float32_has_learned():
    images, network = data.load("digits"), digits()
    standard = Standard(network.geometry, seed=1)
    few = images.x_train[:400], images.y_train[:400]
    fit(standard, *few, *few, batch=40, epochs=2, rate=0.01, seed=1)
    imported = importer.understand(model(standard, "digits", (8, 8, 1)), (-1, 1))
    assert imported.checkpoint.network.geometry == network.geometry
    predicted = Trainer.load(imported.checkpoint).predict(images.x_test).argmax(1)
    assert np.mean(predicted == standard.classify(scale_pixels(images.x_test))) > 0.99


@pytest.fixture(scope="module")
def small():
    """The study's experiment, on digits."""
    return experiment.Experiment(data.load("digits"), trained=1000, held_out=100)


def run(condition="shaded", form="tuned", images=64, rate=0.002, **fields):
    return Run(condition, form, images, 32, fields.pop("epochs", 20), rate, fields.pop("seed", 1), **fields)


def test_fresh_averages_find_another_light(small):
    before = small.carry_out(run(form="before", images=0, epochs=0, rate=0.0))
    after = small.carry_out(run(form="averages", rate=1e-4))
    assert before.new < 0.5 < 0.75 < after.new
    assert before.old > 0.85


def test_all_forms_train(small):
    rows = {form: small.carry_out(run("noisy", form)) for form in FORMS[1:]}
    assert all(row.new > 0.3 for row in rows.values())
    assert rows["tuned"].new > rows["nothing"].new
    assert rows["mixed"].old > rows["tuned"].old
    assert len({row.new for row in rows.values()}) > 3
    assert small.carry_out(run("noisy", "tuned")) == rows["tuned"]
    assert small.carry_out(run("noisy", "tuned", seed=2)).new != rows["tuned"].new


def test_new_classes_are_learned(small):
    before = small.carry_out(run(CLASSES, "before", 0, 0.0, epochs=0))
    after = small.carry_out(run(CLASSES, "tuned", 200, 0.004))
    assert before.new < 0.82 < after.new
    assert before.old > 0.85


def test_held_out_images_are_no_others(small):
    pools = [small._old.x, small._new.x, small._test[True].x, small._test[False].x]
    assert [len(pool) for pool in pools] == [1000, 337, 100, 360]


def test_each_run_is_there_once():
    found = grid.runs()
    assert len(set(found)) == len(found)
    for condition in document.ALL:
        assert [each.form for each in found if each.condition == condition and not each.images] == ["before"]
    assert all(each.images >= each.batch for each in found if each.images)
    chosen = Run("turned", "tuned", 200, grid.BATCH, grid.EPOCHS, grid.RATE, 1, held_out=True)
    assert chosen in found


def rows():
    """As many as the study has, of invented accuracies."""
    return [Row(each, (i % 89) / 100, (i % 97) / 100) for i, each in enumerate(grid.runs())]


def test_a_table_is_read_as_it_was_written(tmp_path):
    table.save(tmp_path / "t.csv", rows())
    assert list(table.read(tmp_path / "t.csv").values()) == rows()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda lines: lines[1:], "its first line is another"),
        (lambda lines: [lines[0], lines[1][:-1]], "a line has 10 of 11 columns"),
        (lambda lines: [lines[0], [*lines[1][:-2], "1.5", lines[1][-1]]], "are not in 0..1"),
        (lambda lines: [lines[0], [*lines[1][:-2], "nan", lines[1][-1]]], "are not in 0..1"),
        (lambda lines: [lines[0], [*lines[1][:7], "Maybe", *lines[1][8:]]], "Maybe"),
        (lambda lines: [lines[0], [*lines[1][:-1], "2"]], "a line is of arithmetic '2', and this bnnedge has 3"),
        (lambda lines: [], "its first line is another"),
    ],
)
def test_what_is_no_table_is_refused(change, said, tmp_path):
    path = tmp_path / "t.csv"
    table.save(path, rows())
    with path.open(newline="") as file:
        lines = change(list(csv.reader(file)))
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(lines)
    with pytest.raises(ValueError, match=f"t.csv is no table of this study: .*{said}"):
        table.read(path)


def test_seconds_are_those_of_whole_batches():
    one = document.seconds(run(images=32, epochs=1))
    assert document.seconds(run(images=63, epochs=1)) == one
    assert document.seconds(run(images=64, epochs=5)) == pytest.approx(10 * one)
    assert document.seconds(run(form="mixed", images=32, epochs=1)) == pytest.approx(2 * one)
    assert one == pytest.approx(32 * document._cycles(32) / 100e6)


def test_the_document_has_the_means_of_the_rows():
    found = {row.run: row for row in rows()}
    lines = document.markdown(found, "t.csv").splitlines()
    tuned = document.of(found, "turned", "tuned", 200)
    assert len(tuned) == len(grid.SEEDS)
    (line,) = [line for line in lines if line.startswith("| turned | 200 | ") and "+-" in line]
    assert f"{100 * np.mean([row.new for row in tuned]):.1f} +- {100 * np.std([row.new for row in tuned], ddof=1):.1f}" in line
    assert len([line for line in lines if "+-" in line and line.startswith("|")]) == 4 * len(grid.IMAGES)


def test_a_stopped_study_goes_on(tmp_path, monkeypatch):
    threadpoolctl = pytest.importorskip("threadpoolctl")
    plan = [run(form="before", images=0, epochs=0, rate=0.0), run(images=32, epochs=1), run(images=32, epochs=2)]
    done = []

    class Interrupted:
        def __init__(self, dataset):
            pass

        def carry_out(self, run):
            done.append(run)
            threads.update(pool["num_threads"] for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas")
            if len(done) == 3:
                raise KeyboardInterrupt
            return Row(run, 0.5, 0.5)

    monkeypatch.setattr(finetuning, "runs", lambda: plan)
    monkeypatch.setattr(finetuning, "Experiment", Interrupted)
    monkeypatch.setattr(finetuning.data, "load", lambda name: None)
    monkeypatch.setattr(finetuning, "markdown", lambda rows, csv: f"{len(rows)} rows in {csv}")
    said, threads = [], set()
    with pytest.raises(KeyboardInterrupt):
        finetuning.write(tmp_path, said.append)
    assert said[0] == "fine-tuning, run 1 of 3"
    written, paper = finetuning.write(tmp_path, said.append)
    assert done == [*plan, plan[2]]
    assert said[-1] == "fine-tuning, run 3 of 3"
    assert list(table.read(written)) == plan
    assert paper.read_text() == "3 rows in fine-tuning.csv"
    assert threads == {1}, "the rows would depend on the number of cores"
