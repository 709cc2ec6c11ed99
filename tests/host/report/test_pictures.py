"""What the pictures show."""

from __future__ import annotations

import re

from bnnedge.configuration import configuration
from bnnedge.report.pictures import curves, families, memory_bars, roofline, size


def test_families() -> None:
    kinds = {"activations": 600, "masks": 400, "shared": -500, "tile buffer": 70, "parameters": 30}
    assert families(kinds) == {"activations": 300, "masks": 200, "buffers": 70, "others": 30}
    assert sum(families(kinds).values()) == sum(kinds.values())
    assert families({"weights": 8, "moments": 16, "statistics": 0}) == {"weights": 8, "moments": 16}


def test_sizes() -> None:
    assert [size(n) for n in (16, 1249008, 54064, 2e9)] == ["16 bytes", "1.25 MB", "54.1 kB", "2 GB"]


def test_bars_are_as_long_as_their_bytes() -> None:
    drawn = memory_bars({"ours": {"weights": 100}, "float32 standard": {"weights": 300, "moments": 100}})
    widths = [float(width) for width in re.findall(r'<rect [^>]*width="([\d.]+)" height="28"', drawn)]
    assert widths == [780 / 4 - 1, 3 * 780 / 4 - 1, 780 / 4 - 1]


def test_curves_of_different_lengths_share_axes() -> None:
    drawn = curves(
        "Loss", [("a", "#111111", [1.0, 0.5, 0.25], False), ("b", "#222222", [0.8], True), ("c", "#333333", [], False)]
    )
    lines = re.findall(r'<polyline points="([^"]*)"', drawn)
    assert [len(line.split()) for line in lines] == [3, 1]
    assert [line.split(",")[0] for line in lines] == ["44.0", "44.0"]
    assert ">c<" not in drawn


def test_roofline() -> None:
    config = configuration("pynq-z2")  # 8192 bit-operations, or 14 bytes, a cycle
    operations = [
        {"pass": "forward, layer 1", "cycles": 1000, "engine": 1000, "bytes": 0},
        {"pass": "weight gradient, layer 2", "cycles": 10, "engine": 100, "bytes": 1400},
        {"pass": "loss, layer 3", "cycles": 50, "engine": 0, "bytes": 8},
    ]
    hints = re.findall(r"<g><title>([^<]*)", roofline(operations, config))
    assert hints == [
        "forward, layer 1: 8,192 bit-operations a cycle, no memory traffic",
        "weight gradient, layer 2: 8,192 bit-operations a cycle, 585 bit-operations a byte",
    ]
    assert "no traffic" in roofline(operations, config)
    assert "no traffic" not in roofline(operations[1:], config)
