"""Files of other tools that people take for model files: what they are, and what would work."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bnnedge import bounded

_EXPORT = '`torch.onnx.export(model.eval(), image, "model.onnx", external_data=False)`'
_TORCH = f"of PyTorch: export it with {_EXPORT}"
_KERAS = 'save it whole with Keras: `model.save("model.keras")`'
_SAVED = f"of TensorFlow: load it with the library that wrote it (tf_keras for Keras 2), and {_KERAS}; or convert it with tf2onnx"
_BY_SUFFIX = {
    **dict.fromkeys((".pt", ".pth", ".safetensors"), _TORCH),
    **dict.fromkeys((".pb", ".tflite", ".index", ".meta"), _SAVED),
    **dict.fromkeys((".json", ".yaml", ".yml"), f"that describes a model without its weights: {_KERAS}"),
    ".npz": "of arrays: a checkpoint of bnnedge needs no import, `bnnedge train --start FILE` begins with it",
    ".ort": "of onnxruntime: give the .onnx file of which it was made",
}


def check(path: Path, suffixes: Sequence[str]) -> None:
    """ValueError, without the path, for what cannot be a model file with one of these suffixes."""
    suffix = path.suffix.lower()
    if path.is_dir():
        saved = (path / "saved_model.pb").exists()
        raise ValueError(f"it is a folder{f' {_SAVED}' if saved else ', not a file'}")
    if not path.exists():
        raise ValueError("there is no such file")
    with bounded.opened(path) as file:
        head = file.read(64)
    if not head:
        raise ValueError("it is empty")
    if head.startswith(b"version https://git-lfs"):
        raise ValueError("it is a pointer of Git LFS, not the model itself: fetch that with `git lfs pull`")
    if head.lstrip().lower().startswith((b"<!doctype", b"<html")):
        raise ValueError("it is a web page, not a model: it has been downloaded from the wrong address")
    if suffix not in suffixes:
        if suffix in _BY_SUFFIX:
            raise ValueError(f"it is a file {_BY_SUFFIX[suffix]}")
        raise ValueError(f"its name must end in {', '.join(suffixes)}; from PyTorch comes such a file by {_EXPORT}")
    if head.startswith(b"PK\3\4") and suffix != ".keras":
        raise ValueError(f"it is an archive: if Keras 3 wrote it call it .keras; if it is {_TORCH}")
    if head.startswith(b"\x89HDF") and suffix not in (".h5", ".hdf5"):
        raise ValueError("it is an HDF5 file: call it .h5")
