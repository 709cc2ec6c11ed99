"""A folded network as an .npz file, which NumPy alone reads (docs/export.md)."""

from __future__ import annotations

import io
import json

import numpy as np

from bnnedge.export.folded import Folded

FORMAT = "bnnedge model"
VERSION = 1

_GEOMETRY = (
    "height",
    "width",
    "channels",
    "kernel_y",
    "kernel_x",
    "stride",
    "pad_y",
    "pad_x",
    "filters",
    "out_height",
    "out_width",
    "pool",
)


def encode(folded: Folded) -> bytes:
    """The bytes of the file: `header`, JSON text, and arrays `1.weight`, `1.threshold`, ..., `mean`, `reciprocal`, `offset`."""
    header = {
        "format": FORMAT,
        "version": VERSION,
        "name": folded.network.name,
        "input_shape": list(folded.network.input_shape),
        "input_planes": folded.input_planes,
        "layers": [{field: getattr(layer.geometry, field) for field in _GEOMETRY} for layer in folded.layers],
    }
    arrays = {field: getattr(folded, field) for field in ("mean", "reciprocal", "offset")}
    arrays["header"] = np.frombuffer(json.dumps(header).encode(), np.uint8)
    for i, layer in enumerate(folded.layers):
        arrays[f"{i + 1}.weight"] = np.packbits(layer.sign.T, axis=1, bitorder="little")
    for i, threshold in enumerate(folded.thresholds):
        arrays[f"{i + 1}.threshold"] = threshold
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()
