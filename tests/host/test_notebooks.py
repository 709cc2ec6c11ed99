"""The notebooks run from top to bottom, and are stored with what they print today."""

import copy
import json
import re

import pytest
from scripts import ROOT, load_script

from bnnedge.cli import main
from bnnedge.notebooks import FOLDER, notebooks

NOTEBOOKS = notebooks()
AGAIN = {"1-first-training": ("cell-10", "cell-18")}  # a cell to run again behind another
LARGEST = 150_000  # bytes of a stored notebook

# A cell that is run before all others: after each of them it looks for labels of a figure that lie over each other.
LOOK = """
import itertools, sys

def look():
    for number in sys.modules["matplotlib.pyplot"].get_fignums() if "matplotlib.pyplot" in sys.modules else ():
        figure = sys.modules["matplotlib.pyplot"].figure(number)
        figure.canvas.draw()
        labels = []
        for axes in figure.axes:
            labels += [axes.title, axes._left_title, axes._right_title, *axes.texts]
            labels += axes.get_legend().get_texts() if axes.get_legend() else []
            for axis in (axes.xaxis, axes.yaxis) if axes.axison else ():
                low, high = sorted(axis.get_view_interval())
                labels += [axis.label, *(tick.label1 for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high)]
        boxes = [(each.get_text(), each.get_window_extent()) for each in labels if each.get_visible() and each.get_text().strip()]
        for (a, one), (b, other) in itertools.combinations(boxes, 2):
            wide, high = (min(one.x1, other.x1) - max(one.x0, other.x0), min(one.y1, other.y1) - max(one.y0, other.y0))
            if wide > 1 and high > 1:
                print(f"labels {a!r} and {b!r} lie over each other", file=sys.stderr)

get_ipython().events.register("post_execute", look)
"""


@pytest.fixture
def script():
    for name in ("nbclient", "nbformat", "ipykernel"):
        pytest.importorskip(name)
    return load_script("notebooks")


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


def outputs(notebook):
    return [output for cell in notebook["cells"] if cell["cell_type"] == "code" for output in cell["outputs"]]


def printed(notebook):
    return "".join("".join(output["text"]) for output in outputs(notebook) if output["output_type"] == "stream")


def test_all_there():
    assert [path.stem for path in NOTEBOOKS] == [
        "1-first-training",
        "2-without-a-board",
        "3-your-own-data-and-network",
        "4-gradient-planes",
        "5-inside-a-step",
        "6-fine-tuning",
    ]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_stored_as_a_fresh_run_leaves_it(path):
    notebook = read(path)
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"
    identifiers = [cell["id"] for cell in notebook["cells"]]
    assert len(set(identifiers)) == len(identifiers)
    assert all(cell["metadata"] == {} for cell in notebook["cells"])
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1)), "run make notebooks"
    assert path.stat().st_size < LARGEST


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_nothing_stored_is_of_one_run_or_machine(path):
    notebook = read(path)
    assert {output["output_type"] for output in outputs(notebook)} <= {"stream", "display_data"}
    assert [output for output in outputs(notebook) if output.get("name") == "stderr"] == []
    assert len([output for output in outputs(notebook) if "image/png" in output.get("data", {})]) >= 2
    assert not re.findall(r"\d+:\d\d|\d+ m?s\b|seconds|minutes| 0x[0-9a-f]+|/tmp\b|/home\b", printed(notebook))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_links(path):
    for cell in read(path)["cells"]:
        for part in re.findall(r"\]\(([^)]*)\)", "".join(cell["source"]) if cell["cell_type"] == "markdown" else ""):
            assert (FOLDER / part).is_file()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_runs_as_stored(path, tmp_path, script):
    notebook = script.nbformat.read(path, as_version=4)
    script.nbformat.validate(notebook)
    stored = {cell.id: script.told(cell) for cell in notebook.cells}
    if path.stem in AGAIN:
        # As a reader does who runs a cell again, after others have used the device.
        cell, after = ([c.id for c in notebook.cells].index(name) for name in AGAIN[path.stem])
        notebook.cells.insert(after + 1, copy.deepcopy(notebook.cells[cell]))
    notebook.cells.insert(0, script.nbformat.v4.new_code_cell(LOOK))
    script.run(notebook, tmp_path)  # an error in a cell raises here
    for cell in notebook.cells[1:]:
        assert script.told(cell) == stored[cell.id], f"{cell.id} of {path.name}: if that is meant, run make notebooks"
    # A clone stays clean.
    assert {each.name for each in tmp_path.iterdir()} <= {"runs"}
    assert "runs/" in (ROOT / ".gitignore").read_text().splitlines()
    for text in EXPECTED[path.stem]:
        assert text in printed(notebook)


def test_labels_that_collide_are_noticed(tmp_path, script):
    draw = "import matplotlib.pyplot as plt\nplt.figure(figsize=({}, 2))\nplt.xticks([0, 1], [10000, 20000])"
    for width, wrong in ((0.4, True), (4, False)):
        cells = [script.nbformat.v4.new_code_cell(text) for text in (LOOK, draw.format(width))]
        notebook = script.run(script.nbformat.v4.new_notebook(cells=cells), tmp_path)
        assert any("lie over each other" in told for told in script.told(notebook.cells[1])) == wrong


def test_time_left_is_not_stored(tmp_path, script):
    lines = (
        ("compiling (1 to 4 minutes) ... 12 s", "\r"),
        ("compiling (1 to 4 minutes) ... 73 s", "\n"),
        ("epoch 1/2 |███▌   |  35 % 00:06, 00:12 left, loss 2", "\r"),
        ("epoch 2/2 |███████| 100 % 00:18, 00:00 left, loss 1", "\n"),
    )
    code = "\n".join(f"print({line!r}, end={end!r})" for line, end in lines)
    notebook = script.run(script.nbformat.v4.new_notebook(cells=[script.nbformat.v4.new_code_cell(code)]), tmp_path)
    assert script.told(notebook.cells[0]) == ["stdout: epoch 2/2 loss 1\n"]


def test_what_is_compiled_the_first_time_alone_is_not_stored(tmp_path, script):
    code = "print('compiling the loops of the golden model (20 seconds) ... 12 s')"
    notebook = script.run(script.nbformat.v4.new_notebook(cells=[script.nbformat.v4.new_code_cell(code)]), tmp_path)
    assert script.told(notebook.cells[0]) == []


EXPECTED = {
    "1-first-training": ["stopped after 54 of 132 steps", "the same predictions: True"],
    "2-without-a-board": ["device rtl", "bit-exact: True"],
    "3-your-own-data-and-network": ["the same network: True", "A layer too large"],
    "4-gradient-planes": ["gradient_planes=8: ", "binarynet"],
    "5-inside-a-step": ["2.code (64, 128)", "KiB"],
    "6-fine-tuning": ["in the field: 34.7 %", "held-out accuracy", "energy, mJ"],
}


def test_copies(tmp_path, capsys):
    folder = tmp_path / "new" / "mine"
    for _ in range(2):  # equal files are no hindrance
        assert main(["notebooks", str(folder)]) == 0
        assert capsys.readouterr().out.splitlines() == [str(folder / path.name) for path in NOTEBOOKS]
    assert [path.read_bytes() for path in NOTEBOOKS] == [(folder / path.name).read_bytes() for path in NOTEBOOKS]


@pytest.mark.parametrize("count", [1, 2])
def test_a_changed_copy_is_not_overwritten(count, tmp_path, capsys):
    main(["notebooks", str(tmp_path)])
    for path in NOTEBOOKS[1 : count + 1]:
        (tmp_path / path.name).write_text("mine")
    (tmp_path / NOTEBOOKS[-1].name).unlink()
    capsys.readouterr()
    assert main(["notebooks", str(tmp_path)]) == 1
    said = capsys.readouterr().err
    what = "it" if count == 1 else "these 2 files"
    assert said.startswith(f"bnnedge: error: {tmp_path / NOTEBOOKS[1].name} differs from the notebook that comes with bnnedge")
    assert said.endswith(f"give another folder, or move {what} away\n")
    assert (tmp_path / NOTEBOOKS[1].name).read_text() == "mine"
    assert not (tmp_path / NOTEBOOKS[-1].name).exists()


def test_a_file_in_the_folder_s_place(tmp_path, capsys):
    (tmp_path / "file").write_text("mine")
    assert main(["notebooks", str(tmp_path / "file")]) == 1
    assert "Not a directory; give another place" in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore")
def test_pynq_finds_them(tmp_path, monkeypatch):
    """`pynq get-notebooks bnnedge`, as on a board."""
    delivery = pytest.importorskip("pynq._cli.get_notebooks")
    monkeypatch.setattr("sys.argv", ["get-notebooks", "bnnedge", "--ignore-overlays", "--quiet", "--path", str(tmp_path)])
    delivery.main()
    assert sorted(path.name for path in (tmp_path / "bnnedge").iterdir()) == [path.name for path in NOTEBOOKS]


def test_they_are_in_a_wheel():
    """The folder is a package, whose files of this kind pyproject.toml names."""
    tomllib = pytest.importorskip("tomllib")
    from setuptools import find_packages

    assert "notebooks" in find_packages(ROOT / "host")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert "*.ipynb" in project["tool"]["setuptools"]["package-data"]["*"]
