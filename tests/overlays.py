"""Folders with a bitstream that is none: what a driver finds, for tests that load nothing into a chip."""

from __future__ import annotations

import struct
from pathlib import Path

from pretend import BOARD

from bnnedge.boards import Board
from bnnedge.boards.hwh import to_hwh
from bnnedge.configuration import Configuration
from bnnedge.devices.bitstream import BIT, METADATA
from bnnedge.manifest import write_manifest


def bit_file(part: str = "7z020clg400", content: bytes = b"\xaa\x99\x55\x66" * 64, user: int = 0xFFFFFFFF) -> bytes:
    """A .bit with a true header and no bitstream."""

    def field(key: bytes, text: str) -> bytes:
        return key + struct.pack(">H", len(text) + 1) + text.encode() + b"\0"

    start = struct.pack(">H", 9) + bytes.fromhex("0ff00ff00ff00ff000") + struct.pack(">H", 1)
    about = f"bnnedge;UserID=0X{user:08X};Version=2023.1"
    fields = field(b"a", about) + field(b"b", part) + field(b"c", "2025/01/01") + field(b"d", "00:00:00")
    return start + fields + b"e" + struct.pack(">I", len(content)) + content


def overlay(folder: Path, config: Configuration, board: Board = BOARD, bits: bytes | None = None) -> Path:
    """Write the three files of one build, with these `bits` as its .bit; return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / BIT).write_bytes(bit_file() if bits is None else bits)
    (folder / METADATA).write_text(to_hwh(board, config))
    write_manifest(folder, config, (BIT, METADATA), board)
    return folder
