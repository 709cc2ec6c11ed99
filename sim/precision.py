"""PyTorch's float32 products, exact whatever its user has set: TF32, bfloat16 and autocast round the factors, or the sums."""

from __future__ import annotations

import contextlib
import importlib
import threading
from collections.abc import Iterator
from typing import Any

_EXACT = ("ieee", "none")  # none: nobody has said anything, and a product's default is exact

_lock = threading.Lock()
_inside = 0  # calls that compute now: the settings are those of the whole process
_outside = contextlib.ExitStack()  # puts back what was set before the first of them


@contextlib.contextmanager
def exact(device: str) -> Iterator[None]:
    """Around what computes with PyTorch on this device ("cpu", "cuda"): set, until the last such call ends, what is exact.

    Raises RuntimeError if PyTorch does not take the setting.
    """
    global _inside
    torch = importlib.import_module("torch")
    with _lock:
        if not _inside:
            with contextlib.ExitStack() as stack:
                _set(torch, stack)
                _outside.push(stack.pop_all())
        _inside += 1
    try:
        with torch.autocast(device, enabled=False):
            yield
    finally:
        with _lock:
            _inside -= 1
            if not _inside:
                _outside.close()


def _set(torch: Any, stack: contextlib.ExitStack) -> None:
    """Set what is exact; the stack puts back what was."""
    backends = torch.backends
    if hasattr(backends.cuda.matmul, "fp32_precision"):
        for place in (backends.cuda.matmul, backends.cudnn.conv, backends.mkldnn.matmul, backends.mkldnn.conv):
            before = place.fp32_precision
            if before not in _EXACT:
                stack.callback(_put_back, place, before)
                place.fp32_precision = "ieee"
                if place.fp32_precision != "ieee":
                    raise RuntimeError(f"PyTorch computes float32 products in {place.fp32_precision}, and takes no other setting")
    else:  # before PyTorch 2.9
        stack.callback(torch.set_float32_matmul_precision, torch.get_float32_matmul_precision())
        stack.callback(setattr, backends.cudnn, "allow_tf32", backends.cudnn.allow_tf32)
        torch.set_float32_matmul_precision("highest")
        backends.cudnn.allow_tf32 = False


def _put_back(place: Any, before: str) -> None:
    place.fp32_precision = "none"  # if it had what is set for all products, it has so again
    if place.fp32_precision != before:
        place.fp32_precision = before
