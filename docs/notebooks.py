"""Runs the notebooks and stores them with what they print and draw: `make notebooks`, after a change to what they show.

python docs/notebooks.py [NAME...]      # 3-your-own-data-and-network, say; all of them, if none is named
"""

from __future__ import annotations

import io
import os
import re
import sys
import tempfile
from base64 import b64decode, b64encode
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nbclient
import nbformat
from PIL import Image

from bnnedge.notebooks import notebooks
from bnnedge.underway import underway

_COLOURS = 64  # of a stored picture: a quarter of the bytes of a full-colour one
# What tells of time: progress bars, and lines that say what is being done meanwhile.
_BAR = re.compile(r"\|[ ▏▎▍▌▋▊▉█#]*\| *\d+ % [\d:?, ]+ left,? *")
_UNDERWAY = re.compile(r"^.* \.\.\. .*\d.*\n", re.MULTILINE)


def run(notebook: Any, folder: Path) -> Any:
    """Run an nbformat notebook in a folder, in place, and tidy what came of it; what a cell raises is raised here."""
    client = nbclient.NotebookClient(
        notebook,
        timeout=600,
        kernel_name="python3",
        record_timing=False,
        coalesce_streams=True,
        resources={"metadata": {"path": str(folder)}},
    )
    environment = {name: value for name, value in os.environ.items() if name != "PYNQ_REMOTE_DEVICES"}
    client.execute(env=environment)
    _tidy(notebook)
    return notebook


def told(cell: Any) -> list[str]:
    """What a cell shows, as far as it is the same each time: texts as they are, of a picture that there is one."""
    found = []
    for output in cell.get("outputs", []):
        if output.output_type == "stream":
            found.append(f"{output.name}: {output.text}")
        else:
            found.append(f"{output.output_type}: {', '.join(sorted(output.data))}")
    return found


def _tidy(notebook: Any) -> None:
    """Remove what differs from run to run, and make pictures small."""
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for cell in notebook.cells:
        cell.metadata = {}
        for output in cell.get("outputs", []):
            if output.output_type == "stream":
                output.text = _UNDERWAY.sub("", _BAR.sub("", output.text))
            elif "image/png" in output.data:
                output.data["image/png"] = _small(output.data["image/png"])
        if "outputs" in cell:  # without texts of which nothing is left
            cell.outputs = [output for output in cell.outputs if output.output_type != "stream" or output.text]


def _small(picture: str) -> str:
    """A PNG, in base64, of few colours."""
    file = io.BytesIO()
    Image.open(io.BytesIO(b64decode(picture))).convert("RGB").quantize(_COLOURS, dither=Image.Dither.NONE).save(
        file, "png", optimize=True
    )
    return b64encode(file.getvalue()).decode()


def main(names: Sequence[str]) -> None:
    """Store the named notebooks, or all, with the outputs of a fresh run."""
    unknown = set(names) - {path.stem for path in notebooks()}
    if unknown:
        raise SystemExit(f"there is no notebook {', '.join(sorted(unknown))}; there are {', '.join(p.stem for p in notebooks())}")
    for path in notebooks():
        if not names or path.stem in names:
            with underway(path.stem, "seconds to minutes"), tempfile.TemporaryDirectory() as folder:
                notebook = run(nbformat.read(path, as_version=4), Path(folder))
            nbformat.write(notebook, path)
            print(f"    {path.stat().st_size / 1024:.0f} KB", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
