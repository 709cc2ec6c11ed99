"""bnnedge: train binary neural networks on an FPGA.

    from bnnedge import Settings, Trainer, digits, load

    data = load("digits")
    with Trainer(digits(), settings=Settings(batch=64)) as trainer:
        trainer.fit(data.x_train, data.y_train, epochs=10, validation_data=(data.x_test, data.y_test))

Only NumPy is imported here; a device brings what it needs.
"""

from typing import Any

from bnnedge.began import LOADED as _LOADED  # noqa: F401 - before all that follows
from bnnedge.callbacks import BestCheckpoint, Callback, CSVLogger, EarlyStopping, History, PeriodicCheckpoint
from bnnedge.checker import MismatchError
from bnnedge.checkpoint import CheckpointError
from bnnedge.configuration import CONFIGURATIONS, Configuration, configuration
from bnnedge.data import Augment, DataError, Dataset, DataWarning, load
from bnnedge.devices import Device, DeviceError, choose_device, open_device
from bnnedge.keywords import CALLBACKS, LAYERS
from bnnedge.network import Conv2D, Dense, Flatten, MaxPool2D, Network, binarynet, cnv, digits, mlp
from bnnedge.settings import Settings
from bnnedge.state import TrainingState
from bnnedge.trainer import Trainer

__all__ = [
    "CONFIGURATIONS",
    "Augment",
    "BestCheckpoint",
    "CSVLogger",
    "Callback",
    "CheckpointError",
    "Configuration",
    "Conv2D",
    "DataError",
    "DataWarning",
    "Dataset",
    "Dense",
    "Device",
    "DeviceError",
    "EarlyStopping",
    "Flatten",
    "History",
    "MaxPool2D",
    "MismatchError",
    "Network",
    "PeriodicCheckpoint",
    "Settings",
    "Trainer",
    "TrainingState",
    "binarynet",
    "choose_device",
    "cnv",
    "configuration",
    "digits",
    "load",
    "mlp",
    "open_device",
]


def __getattr__(name: str) -> Any:
    """What needs scikit-learn; and an answer for layers that other libraries have."""
    if name == "BNNClassifier":
        from bnnedge.classifier import BNNClassifier

        return BNNClassifier
    # No AttributeError: the text of one is lost in `from bnnedge import ...`.
    if name in LAYERS:
        raise ImportError(f"bnnedge has no {name}: {LAYERS[name]}")
    if name in CALLBACKS:
        raise ImportError(f"bnnedge has no {name}: use {CALLBACKS[name]}")
    raise AttributeError(f"module 'bnnedge' has no attribute {name!r}")
