"""The notebooks that come with the package, and copies of them to work in.

pynq finds this package by its entry point `pynq.notebooks`, so that `pynq get-notebooks` copies them, too.
"""

from __future__ import annotations

import os
from pathlib import Path

from bnnedge.files import atomic

FOLDER = Path(__file__).parent


def notebooks() -> list[Path]:
    """The notebooks' files, in the order in which to read them."""
    return sorted(FOLDER.glob("*.ipynb"))


def copy(folder: str | os.PathLike[str]) -> list[Path]:
    """Copy the notebooks into a folder, which is made if need be; return the paths of the copies.

    What was changed there is never overwritten: one that differs is refused before anything is written.

    Raises
    ------
    ValueError: a file there differs from the notebook of its name
    OSError: the folder can't be made or written to
    """
    contents = {Path(folder) / path.name: path.read_bytes() for path in notebooks()}
    changed = [path for path, content in contents.items() if path.exists() and path.read_bytes() != content]
    if changed:
        raise ValueError(
            f"{changed[0]} differs from the notebook that comes with bnnedge, and stays as it is: give another folder, or move "
            f"{'it' if len(changed) == 1 else f'these {len(changed)} files'} away"
        )
    for path, content in contents.items():
        if not path.exists():
            with atomic(path) as file:
                file.write(content)
    return list(contents)
