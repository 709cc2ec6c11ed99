"""Trained networks for use elsewhere: NumPy file, C header, ONNX model; each gives the device's logits bit for bit.

    from bnnedge import checkpoint, export

    folded = export.fold(checkpoint.load("runs/digits/checkpoint.npz"))
    export.save("digits.h", folded, "c")

docs/export.md describes the files.
"""

from __future__ import annotations

import os
from pathlib import Path

from bnnedge.export import graph, header, npz
from bnnedge.export.folded import Folded, FoldedLayer, fold
from bnnedge.files import atomic

__all__ = ["FORMATS", "Folded", "FoldedLayer", "fold", "save"]

# By name: how the names of such files end.
FORMATS = {"npz": ".npz", "c": ".h", "onnx": ".onnx", "qonnx": ".qonnx.onnx"}


def save(path: str | os.PathLike[str], folded: Folded, kind: str) -> None:
    """Write a network in one of `FORMATS`, whole or not at all.

    The names in a C header begin with the file's own. Raises OSError if the file cannot be written, ValueError for an
    unknown format, or for ONNX without the package onnx; says what to install.
    """
    try:
        content = _encoded(folded, kind, Path(path).name)
    except ModuleNotFoundError as error:
        raise ValueError(f"format {kind} needs the Python module {error.name}: pip install 'bnnedge[exchange]'") from error
    with atomic(path) as file:
        file.write(content)


def _encoded(folded: Folded, kind: str, name: str) -> bytes:
    if kind == "npz":
        return npz.encode(folded)
    if kind == "c":
        return header.encode(folded, name)
    if kind in ("onnx", "qonnx"):
        return graph.encode(folded, bipolar=kind == "qonnx")
    raise ValueError(f"there is no format {kind!r}; there are {', '.join(FORMATS)}")
