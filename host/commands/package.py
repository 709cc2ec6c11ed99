"""`bnnedge package`: one archive for a board, of what `generate` or `bitstream` left."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from bnnedge.boards import board
from bnnedge.boards.package import package
from bnnedge.commands import options
from bnnedge.configuration import configuration
from bnnedge.devices.bitstream import BIT, described
from bnnedge.manifest import MANIFEST


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    options.add_board(parser, "which to pack for")
    options.add_configuration(parser, "the board's own")
    parser.add_argument("--from", dest="folder", metavar="DIR", help="what `generate` wrote (default: build/BOARD/CONFIG)")
    parser.add_argument("--out", metavar="FILE", help="the archive (default: build/BOARD/bnnedge-CONFIG.tar.gz)")


def run(arguments: argparse.Namespace) -> int:
    """Pack; return the exit status."""
    target = board(arguments.board)
    name = configuration(arguments.config or target.configuration).name
    folder = Path(arguments.folder or options.board_folder(target, name))
    if not (folder / MANIFEST).exists():
        raise ValueError(f"there is no {folder / MANIFEST}: run bnnedge bitstream (or generate) --board {arguments.board} before")
    archive = Path(arguments.out or Path("build", target.name, f"bnnedge-{described(folder).name}.tar.gz"))
    options.check_file(archive)
    names = package(target, folder, archive)
    print("\n".join(names), file=options.beside(archive))
    if not any(name.endswith(BIT) for name in names):
        print(
            f"bnnedge: no {BIT}: run bnnedge bitstream --board {arguments.board}, and package again; until then nothing but the "
            "golden model runs on the board",
            file=sys.stderr,
        )
    print(archive, file=options.beside(archive))
    return 0
