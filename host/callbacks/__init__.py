"""Callbacks: what `Trainer.fit` calls as it goes on, and those that come with the package, by Keras's names."""

from __future__ import annotations

from typing import Any

from bnnedge.callbacks.callback import Callback, History
from bnnedge.callbacks.csvlog import CSVLogger
from bnnedge.callbacks.monitors import BestCheckpoint, EarlyStopping
from bnnedge.callbacks.periodic import PeriodicCheckpoint
from bnnedge.keywords import CALLBACKS

__all__ = ["BestCheckpoint", "CSVLogger", "Callback", "EarlyStopping", "History", "PeriodicCheckpoint"]


def __getattr__(name: str) -> Any:
    """An answer for callbacks that Keras has."""
    if name in CALLBACKS:  # no AttributeError: the text of one is lost in `from bnnedge.callbacks import ...`
        raise ImportError(f"bnnedge has no {name}: use {CALLBACKS[name]}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
