"""Models as ONNX and QONNX graphs, as their tools write them."""

from __future__ import annotations

from situations import Row

ROWS: list[Row] = []
