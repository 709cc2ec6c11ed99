"""The notebooks run from top to bottom, and are stored without what they printed."""

import copy
import json
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "host" / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
SIMULATES = "2-without-a-board"  # compiles the accelerator, which takes minutes on a slow machine
AGAIN = {"1-first-training": ("cell-10", "cell-18")}  # a cell to run again behind another
RUN = [pytest.param(path, marks=[pytest.mark.long] * (path.stem == SIMULATES), id=path.stem) for path in NOTEBOOKS]


def test_all_there():
    assert [path.stem for path in NOTEBOOKS] == [
        "1-first-training",
        "2-without-a-board",
        "3-your-own-data-and-network",
        "4-gradient-planes",
        "5-inside-a-step",
    ]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_stored_without_outputs(path):
    notebook = json.loads(path.read_text(encoding="utf-8"))
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"
    identifiers = [cell["id"] for cell in notebook["cells"]]
    assert len(set(identifiers)) == len(identifiers)
    for cell in notebook["cells"]:
        assert cell["metadata"] == {}
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            assert cell["execution_count"] is None


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_links(path):
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        for part in "".join(cell["source"]).split("](")[1:]:
            assert (FOLDER / part.split(")")[0]).is_file()


@pytest.mark.parametrize("path", RUN)
def test_runs(path, tmp_path, monkeypatch):
    nbclient = pytest.importorskip("nbclient")
    nbformat = pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel")
    monkeypatch.delenv("PYNQ_REMOTE_DEVICES", raising=False)
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    if path.stem in AGAIN:
        # As a reader does who runs a cell again, after others have used the device.
        cell, after = ([c.id for c in notebook.cells].index(name) for name in AGAIN[path.stem])
        notebook.cells.insert(after + 1, copy.deepcopy(notebook.cells[cell]))
    # An error in a cell raises here.
    nbclient.NotebookClient(
        notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    if path.stem in AGAIN:
        first, second = (notebook.cells[place].outputs for place in (cell, after + 1))
        assert first
        assert first == second
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    kinds = {output.output_type for output in outputs}
    assert kinds <= {"stream", "display_data"}  # nothing that a cell leaves by chance
    assert [output.text for output in outputs if output.output_type == "stream" and output.name == "stderr"] == []
    pictures = [output for output in outputs if "image/png" in output.get("data", {})]
    assert len(pictures) >= 2
    printed = "".join(output.text for output in outputs if output.output_type == "stream")
    for text in EXPECTED[path.stem]:
        assert text in printed


EXPECTED = {
    "1-first-training": ["stopped after 54 of 132 steps", "the same predictions: True"],
    "2-without-a-board": ["device rtl", "bit-exact: True", "epoch 1/1 |"],
    "3-your-own-data-and-network": ["the same network: True", "A layer too large"],
    "4-gradient-planes": ["gradient_planes=8: ", "binarynet"],
    "5-inside-a-step": ["2.code (64, 128)", "KiB"],
}
