from __future__ import annotations

from pathlib import Path

import pytest

from bnnedge.importer import kinds

SUFFIXES = (".keras", ".h5", ".hdf5", ".onnx")


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.onnx", b"\x08\x07"), ("A.ONNX", b"\x08\x07"), ("a.h5", b"\x89HDF"), ("a.hdf5", b"\x89HDF"), ("a.keras", b"PK\3\4")],
)
def test_what_may_be_a_model_passes(tmp_path: Path, name: str, content: bytes):
    (tmp_path / name).write_bytes(content)
    kinds.check(tmp_path / name, SUFFIXES)


def test_folders(tmp_path: Path):
    with pytest.raises(ValueError, match=r"^it is a folder, not a file$"):
        kinds.check(tmp_path, SUFFIXES)
    (tmp_path / "saved_model.pb").touch()
    with pytest.raises(ValueError, match=r"^it is a folder of TensorFlow: .*tf2onnx$"):
        kinds.check(tmp_path, SUFFIXES)


def test_what_is_no_regular_file():
    with pytest.raises(ValueError, match="not a regular file"):
        kinds.check(Path("/dev/null"), SUFFIXES)
