"""Digilent PYNQ-Z1: Zynq-7020, 512 MB of DDR3."""

from bnnedge.boards.board import Board, Part

BOARD = Board(
    name="pynq-z1",
    title="Digilent PYNQ-Z1",
    part=Part.called("xc7z020clg400-1"),
    configuration="pynq-z2",
    pins={
        "led_busy": ("R14", "LVCMOS33"),
        "led_error": ("P14", "LVCMOS33"),
    },
    registers=(0x43C0_0000, 0x1_0000),
    memory_ports=(0, 2),
)
