"""The page of a run: all sections, the report's numbers, nothing from elsewhere, all text escaped."""

from __future__ import annotations

import argparse
import html.parser
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bnnedge.commands import report as command
from bnnedge.compiler import estimate
from bnnedge.report import page as module
from bnnedge.report.evaluation import Confusion, confusion
from bnnedge.report.run import load_run

Amend = Callable[..., Path]
SECTIONS = ["Learning curves", "Confusion matrix", "Cycles of a step", "Roofline", "Memory", "Settings and versions"]
VOID = {"meta", "br"}


class Page(html.parser.HTMLParser):
    """Checks that elements are closed in their order, and collects text, table rows and attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.texts: list[tuple[str, str]] = []  # element, text
        self.rows: list[list[str]] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append((self.open[-1] if self.open else "", data))
        if self.rows and {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data

    def of(self, tag: str) -> list[str]:
        return [text for name, text in self.texts if name == tag]


def run(folder: Path, *options: str) -> Page:
    parser = argparse.ArgumentParser()
    command.add(parser)
    assert command.run(parser.parse_args([str(folder), *options])) == 0
    return Page((folder / "report.html").read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def page(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Page:
    return run(Path(shutil.copytree(trained, tmp_path_factory.mktemp("page") / "run")))


def test_sections(page: Page) -> None:
    assert page.of("h2") == SECTIONS
    assert page.of("h1") == ["digits on digits"]
    assert [tag for tag, name, _ in page.attributes if (tag, name) == ("svg", "role")] == ["svg"] * 4


def test_numbers_are_those_of_the_report(page: Page, trained: Path) -> None:
    report = json.loads((trained / "report.json").read_text())
    loaded = load_run(trained)
    found = estimate(loaded.network, loaded.settings, loaded.configuration)
    assert page.of("b") == [
        f"{100 * report['test_accuracy']:.2f} %",
        f"{100 * report['reference_accuracy']:.2f} %",
        f"{found.images_per_second:,.0f}",
        f"{found.cycles_per_image:,.0f}",
        "–",
        f"{report['memory_bytes']['ratio']:.1f}×",
    ]
    for kind, count in (*report["memory_bytes"]["on_chip"].items(), *report["memory_bytes"]["ddr"].items()):
        assert [kind, f"{count:,}"] in page.rows
    assert ["all", f"{report['memory_bytes']['float32_standard']:,}"] in page.rows
    for name, version in report["versions"].items():
        assert [name, version] in page.rows
    for row in found.layers:
        (shown,) = [cells for cells in page.rows if cells[:1] == [row["pass"]]]
        assert [shown[2], shown[4], shown[5], shown[6]] == [
            f"{row['cycles']:,}",
            f"{row['engine']:,}",
            f"{row['bytes']:,}",
            row["bound by"],
        ]


def test_confusion_matrix(page: Page, trained: Path) -> None:
    found = confusion(load_run(trained))
    assert found.counts.sum() == 360
    assert found.accuracy == pytest.approx(json.loads((trained / "report.json").read_text())["test_accuracy"])
    for n, counts in enumerate(found.counts):
        row = [str(n), *(str(count) if count else "·" for count in counts), f"{100 * counts[n] / counts.sum():.1f} %"]
        assert row in page.rows


def test_nothing_comes_from_elsewhere(page: Page, trained: Path, tmp_path: Path) -> None:
    for tag, name, value in page.attributes:
        assert tag not in ("script", "link", "img", "iframe", "image", "use", "object")
        assert name not in ("src", "href", "xlink:href", "srcset")
        assert not name.startswith("on")
        assert "url(" not in value
    (style,) = page.of("style")
    assert "url(" not in style
    assert "@import" not in style


def test_points_lie_below_the_roof_and_in_the_picture(page: Page) -> None:
    places = [float(value) for tag, name, value in page.attributes if (tag, name) == ("circle", "cy")]
    assert len(places) > 8
    assert all(0 < place < 424 for place in places)


def test_text_is_escaped(amend: Amend) -> None:
    bad = "<script>alert('1')</script>&\"x"
    folder = amend(network=bad, data=bad, device=bad, config=bad, versions={bad: bad})
    page = run(folder)
    assert page.of("h1") == [f"{bad} on {bad}"]
    assert [bad, bad] in page.rows
    assert not [tag for tag, _, _ in page.attributes if tag == "script"]
    assert "<script" not in (folder / "report.html").read_text()


def test_measured_rates(amend: Amend) -> None:
    page = run(amend(cycles_per_image=371.4, images_per_second=269251.0, engine_utilisation=0.5, bit_exact=True, checked_steps=2))
    assert page.of("b")[2:5] == ["269,251", "371", "yes"]
    assert "measured, engine busy 50 %" in page.of("span")
    assert "2 steps compared with the golden model" in page.of("span")


def test_after_a_mismatch_in_the_first_epoch(amend: Amend) -> None:
    nothing = {name: [] for name in ("train_loss", "train_accuracy", "test_loss_history", "test_accuracy_history")}
    page = run(amend(**nothing, bit_exact=False, test_accuracy=None, reference=None, reference_accuracy=None))
    assert page.of("b")[0] == "–"
    assert page.of("b")[4] == "no"
    assert "Cross-entropy (nats): the run ended before its first epoch." in page.of("p")


def test_a_network_that_does_not_fit(amend: Amend) -> None:
    description = {"name": "digits", "input_shape": [8, 8], "layers": [{"dense": 200}]}
    memory = {"on_chip": {}, "ddr": {}, "total": None, "float32_standard": None, "ratio": None}
    page = run(amend(network_description=description, memory_bytes=memory))
    reasons = [text for text in page.of("p") if text.startswith("There is no estimate: ")]
    assert len(reasons) == 2
    assert "200 classes" in reasons[0]


class TestConfusion:
    def reason(self, folder: Path) -> str:
        (text,) = [text for text in run(folder).of("p") if text.startswith("There is none: ")]
        return text

    def test_unknown_data(self, amend: Amend, capsys: pytest.CaptureFixture[str]) -> None:
        reason = self.reason(amend(data="mine"))
        assert "the data set 'mine' is needed, see option --data" in reason
        assert "no confusion matrix: the data set 'mine'" in capsys.readouterr().out

    def test_no_checkpoint(self, folder: Path) -> None:
        (folder / "checkpoint.npz").unlink()
        assert "checkpoint.npz: there is no such file" in self.reason(folder)

    def test_damaged_checkpoint(self, folder: Path) -> None:
        path = folder / "checkpoint.npz"
        path.write_bytes(path.read_bytes()[:-100])
        assert "truncated" in self.reason(folder)

    def test_another_step(self, amend: Amend) -> None:
        reason = self.reason(amend(steps=9))
        assert "(network 'digits', step 8) is not what report.json describes (network 'digits', step 9)" in reason

    def test_data_of_another_file(self, folder: Path, tmp_path: Path) -> None:
        images = np.full((12, 8, 8), 200, np.uint8)
        labels = np.arange(12) % 3
        np.savez(tmp_path / "other.npz", x_train=images, x_test=images, y_train=labels, y_test=labels)
        page = run(folder, "--data", str(tmp_path / "other.npz"))
        (text,) = [text for text in page.of("p") if text.startswith("12 test images")]
        assert "it is of another test set, or of an epoch before the end" in text

    def test_data_that_was_asked_for_must_do(self, folder: Path, tmp_path: Path) -> None:
        images = np.full((12, 4, 4), 200, np.uint8)
        labels = np.arange(12) % 3
        np.savez(tmp_path / "other.npz", x_train=images, x_test=images, y_train=labels, y_test=labels)
        for data, message in ((tmp_path / "other.npz", r"images of shape \(4, 4\)"), (tmp_path / "no.npz", "cannot be read")):
            with pytest.raises(ValueError, match=message):
                run(folder, "--data", str(data))
        assert not (folder / "report.html").exists()

    def test_most_confused(self) -> None:
        assert Confusion(np.array([[3, 0, 2], [1, 4, 0], [0, 2, 5]])).most_confused(2) == [(0, 2, 2), (2, 1, 2)]
        assert Confusion(np.eye(3, dtype=int)).most_confused() == []

    @pytest.mark.parametrize("classes", [3, 50])
    def test_a_perfect_one(self, folder: Path, classes: int) -> None:
        page = Page(module.page(load_run(folder), Confusion(np.eye(classes, dtype=np.int64))))
        assert "No image was taken for another class." in page.of("p")
        assert (["2", "·", "·", "1", "100.0 %"] in page.rows) == (classes == 3)


def test_an_earlier_page_stays_if_writing_fails(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "report.html").write_text("before")

    def fails(*arguments: object) -> str:
        raise OSError("disk full")

    monkeypatch.setattr(module, "page", fails)
    with pytest.raises(OSError, match="disk full"):
        run(folder)
    assert (folder / "report.html").read_text() == "before"
    assert sorted(path.name for path in folder.iterdir()) == ["checkpoint.npz", "curve.png", "report.html", "report.json"]
