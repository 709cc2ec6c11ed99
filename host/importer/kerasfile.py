"""Model files of Keras and Larq: looked through before a library gets to see them."""

from __future__ import annotations

import importlib
import importlib.util
import io
import mmap
import os
import shutil
import tempfile
import types
from pathlib import Path
from typing import Any, BinaryIO

from bnnedge import bounded
from bnnedge.importer import hdf5
from bnnedge.importer.config import Structure
from bnnedge.importer.steps import UnsupportedError, first_line
from bnnedge.parsing import decoded, parse_json

SUFFIXES = (".keras", ".h5", ".hdf5")

_CONFIG_BYTES = 4 << 20
_MEMBERS = {"metadata.json", "config.json", "model.weights.h5"}


def read(path: Path) -> Any:
    """The Keras model in a file, by Larq if it has Larq's layers; ValueError if a library is missing or the file no model.

    What is in the file is looked through first: no library gets to see a class, a function, a size or a link that is not on our
    lists (`Structure`, `hdf5.numbers`).
    """
    try:
        config, held = _described(path)
        structure = Structure(config, _registered)
    except UnsupportedError:
        raise
    except (*bounded.DAMAGED, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"it is damaged, or no Keras model: {first_line(error)}") from error
    if structure.weights > held:
        raise ValueError(f"its layers have {structure.weights:,} numbers, of which {held:,} are in the file: it is cut short")
    if structure.larq:
        os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")  # Larq is written for Keras 2
        _needed("larq")
        load = _needed("tensorflow").keras.models.load_model
    else:
        load = library().models.load_model
    try:
        if path.suffix in SUFFIXES:
            return load(path, compile=False)
        with tempfile.TemporaryDirectory() as folder:  # Keras tells kinds of files by their suffixes, in small letters
            return load(shutil.copyfile(path, Path(folder, f"model{path.suffix.lower()}")), compile=False)
    except Exception as error:  # whatever the libraries raise for a damaged file or a layer that they do not know
        raise ValueError(f"Keras cannot read it: {first_line(error)}") from error


def _described(path: Path) -> tuple[Any, int]:
    """The configuration of the model, and how many numbers the file holds."""
    h5py = _needed("h5py")
    if path.suffix.lower() != ".keras":
        with bounded.opened(path) as stream, _mapped(stream) as octets, h5py.File(path) as file:
            held = hdf5.numbers(file, octets)
            if "model_config" not in file.attrs:
                raise UnsupportedError("it holds weights alone: save the whole model, with `model.save`")
            return _parsed(file.attrs["model_config"]), held
    with bounded.archive(path) as archive:
        sizes = {member.filename: member.file_size for member in archive.infolist()}
        if set(sizes) != _MEMBERS:
            members = bounded.listed([bounded.shown(name) for name in sizes])
            raise ValueError(f"it holds {members or 'nothing'}, not {', '.join(sorted(_MEMBERS))}")
        if max(sizes["config.json"], sizes["metadata.json"]) > _CONFIG_BYTES:
            raise ValueError(f"its config.json takes more than {_CONFIG_BYTES:,} bytes")
        weights = archive.read("model.weights.h5")
        with h5py.File(io.BytesIO(weights), "r") as file:
            return _parsed(archive.read("config.json")), hdf5.numbers(file, weights)


def _mapped(stream: BinaryIO) -> mmap.mmap:
    """The content of a file, of which nothing is read before it is wanted."""
    return mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)


def _parsed(text: Any) -> Any:
    """The JSON text of a configuration, of limited length and depth."""
    octets = text if isinstance(text, bytes) else text.encode()
    if len(octets) > _CONFIG_BYTES:
        raise ValueError(f"its configuration takes more than {_CONFIG_BYTES:,} bytes")
    return parse_json(decoded(octets))


def _registered(name: str) -> bool:
    """Whether the user's own program has registered a function of that name with Keras."""
    return isinstance(library().saving.get_registered_object(name), types.FunctionType)


def library() -> Any:
    """Keras 3, on a backend that is installed; UnsupportedError without it."""
    # Keras 3 computes with one of these, and believes in the first unless told otherwise.
    installed = [name for name in ("tensorflow", "jax", "torch") if importlib.util.find_spec(name)]
    os.environ.setdefault("KERAS_BACKEND", next(iter(installed), "tensorflow"))
    return _needed("keras")


def _needed(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        package = {"larq": "larq tensorflow tf_keras", "tensorflow": "tensorflow tf_keras"}.get(name, "'bnnedge[keras]'")
        raise UnsupportedError(f"it needs the Python module {error.name}: pip install {package}") from error
