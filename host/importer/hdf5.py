"""HDF5 files of Keras: checked before any weight is read; links, data of other files and compressed data are refused."""

from __future__ import annotations

import math
import mmap
import re
from typing import Any

import numpy as np

from bnnedge import bounded
from bnnedge.bounded import shown

_OBJECTS = 20_000  # groups and datasets at most
_DEPTH = 30
# Where texts of any length lie, and how many bytes there are.
_HEAP = re.compile(rb"GCOL\x01\x00\x00\x00(.{8})", re.DOTALL)
_RATIO = 20  # texts of an attribute may take as many times the file's length: a long one, the configuration, lies among them


def numbers(file: Any, octets: bytes | mmap.mmap) -> int:
    """How many numbers the datasets of a file (`h5py.File`) with this content hold.

    Links to other files, datasets that lie in them, and such as are compressed or not wholly there raise ValueError: Keras writes
    none of these, and reading them reads other files, or makes much of little.
    """
    import h5py

    held, bytes_held, size = 0, 0, len(octets)
    longest = min(size, max((int.from_bytes(heap[1], "little") for heap in _HEAP.finditer(octets)), default=0))
    seen: set[int] = set()
    waiting: list[tuple[Any, str]] = [(file, "")]
    while waiting:
        group, path = waiting.pop()
        _check_attributes(group, path, size, longest)
        for name in group:
            place = f"{path}/{shown(name)}"
            if len(seen) >= _OBJECTS or place.count("/") > _DEPTH:
                raise ValueError(f"{place}: more parts than a model can need")
            link = group.get(name, getlink=True)
            if not isinstance(link, h5py.HardLink):
                raise ValueError(f"{place} is a link to somewhere else, which is not followed: save the model with Keras itself")
            item = group[name]
            address = h5py.h5o.get_info(item.id).addr
            if address in seen:
                raise ValueError(f"{place} is there twice: save the model with Keras itself")
            seen.add(address)
            if isinstance(item, h5py.Group):
                waiting.append((item, place))
                continue
            if not isinstance(item, h5py.Dataset):
                raise ValueError(f"{place} is neither a group nor a dataset")
            _check_attributes(item, place, size, longest)
            count = _stored(item, place)
            held, bytes_held = held + count, bytes_held + item.id.get_storage_size()
    if bytes_held > size:
        raise ValueError(f"its datasets take {bytes_held:,} bytes, more than the file has")
    return held


def _stored(dataset: Any, place: str) -> int:
    """How many numbers a dataset has, all of them in the file as they are; ValueError."""
    if dataset.external or dataset.is_virtual:
        raise ValueError(f"{place} lies in another file, which is not read: save the model with Keras itself")
    plist = dataset.id.get_create_plist()
    if dataset.dtype.kind not in "biuf" or plist.get_nfilters():
        raise ValueError(f"{place} is no array of plain numbers, or compressed: save the model with Keras itself")
    count = math.prod(dataset.shape or ())
    if dataset.id.get_storage_size() < count * dataset.dtype.itemsize:
        raise ValueError(f"{place} shows {count:,} numbers, of which not all are in the file")
    return count


def _check_attributes(item: Any, place: str, size: int, longest: int) -> None:
    """ValueError for what is too large, or asks for too much; longest: bytes that a text of any length can have."""
    for name in item.attrs:
        attribute = item.attrs.get_id(name)
        count = math.prod(attribute.shape)
        # Such texts are addresses: a thousand of them may be of the same megabyte.
        texts = count * longest if attribute.dtype.hasobject else 0
        too_large = count * attribute.get_type().get_size() > size or texts > bounded.allowed(size, _RATIO)
        if count > _OBJECTS or too_large:
            raise ValueError(f"{place or 'the file'} has an attribute {shown(repr(name))} of {count:,} parts, too large for it")
    # Keras reads what these list, as often as it is listed.
    lists = [name for name in item.attrs if re.fullmatch(r"(layer|weight)_names\d*", name)]
    listed = [value if isinstance(value, str) else value.decode() for name in lists for value in np.ravel(item.attrs[name])]
    if len(set(listed)) < len(listed) or any(part in ("", ".") for value in listed for part in value.split("/")):
        raise ValueError(f"{place or 'the file'} lists a part twice")
