"""Callbacks: what `Trainer.fit` calls as it goes on, and those that come with the package, by Keras's names."""

from __future__ import annotations

from bnnedge.callbacks.callback import Callback, History
from bnnedge.callbacks.csvlog import CSVLogger
from bnnedge.callbacks.monitors import BestCheckpoint, EarlyStopping

__all__ = ["BestCheckpoint", "CSVLogger", "Callback", "EarlyStopping", "History"]
