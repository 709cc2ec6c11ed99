"""A classifier in the manner of scikit-learn, for its pipelines, cross-validation and searches.

    from bnnedge.classifier import BNNClassifier

    model = BNNClassifier(hidden=(128, 128), epochs=20).fit(X_train, y_train)
    print(model.score(X_test, y_test))

This module needs scikit-learn: pip install 'bnnedge[sklearn]'.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from bnnedge.callbacks import History
from bnnedge.keywords import explained
from bnnedge.network import Dense, Network
from bnnedge.rates import SCHEDULE, SMALL_DATA_RATE, Schedule, usual
from bnnedge.settings import AUTO, Settings, count
from bnnedge.trainer import Trainer

try:
    from sklearn.base import BaseEstimator, ClassifierMixin
    from sklearn.utils import check_random_state
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import check_is_fitted, validate_data
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f"BNNClassifier needs {error.name}, which is not installed: pip install 'bnnedge[sklearn]'", name=error.name
    ) from error

SCALES = ("feature", "all", None)


class BNNClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A binary neural network for rows of numbers, of any labels.

    It trains on a device, and predicts with the golden model, which computes the same bits: so it holds no device, and can
    be copied, stored and sent to other processes. With few samples these are repeated until they fill a batch.

    Parameters
    ----------
    hidden: units of the hidden dense layers; a number, if there is one.
    network: instead of `hidden`: a `Network`, of images as long as a row of X, and a unit for each class; or a function of
        the number of features and the number of classes that returns one.
    epochs: passes over the samples.
    batch: samples a step: a multiple of 16, 16..512.
    rate, schedule: of learning, see `bnnedge.Trainer`. By default the rate is 0.03, and with convolutions the trainer's.
    gradient_planes, input_planes: see `bnnedge.Settings`.
    scale: how numbers become pixels, 0..255. "feature": each column's range in training, and what is beyond is clipped. "all":
        one range for all columns, as suits images. None: X is taken as it is, whole numbers 0..255 or floats in [0, 1].
    device, configuration: where to train, by name: see `bnnedge.Trainer`.
    random_state: a whole number is the seed; also a RandomState, or None for NumPy's own.
    verbose: show a bar while training.

    Members
    -------
    classes_: (C,) labels, sorted. n_features_in_: columns of X. history_: of training, see `bnnedge.History`.
    checkpoint_: what `Trainer.load` takes, and `bnnedge.export.export` writes. low_, high_: ranges of the columns.

    Raises
    ------
    ValueError: arguments or data that cannot be used; `fit` tells
    DeviceError: the device cannot be opened, or failed
    """

    @explained
    def __init__(
        self,
        hidden: Sequence[int] | int = (128, 128),
        *,
        network: Any = None,
        epochs: int = 30,
        batch: int = 64,
        rate: float | None = None,
        schedule: str | Schedule = SCHEDULE,
        gradient_planes: int | Sequence[int] | str = AUTO,
        input_planes: int = 8,
        scale: str | None = "feature",
        device: str = "golden",
        configuration: Any = None,
        random_state: Any = 1,
        verbose: bool = False,
    ) -> None:
        self.hidden = hidden
        self.network = network
        self.epochs = epochs
        self.batch = batch
        self.rate = rate
        self.schedule = schedule
        self.gradient_planes = gradient_planes
        self.input_planes = input_planes
        self.scale = scale
        self.device = device
        self.configuration = configuration
        self.random_state = random_state
        self.verbose = verbose

    @explained
    def fit(self, X: Any, y: Any) -> BNNClassifier:
        """Train on X (N, features), or (N, ...) images, with labels y (N,) of any type."""
        X, y = validate_data(self, _rows(X), y, dtype="numeric")
        check_classification_targets(y)
        if self.scale not in SCALES:
            raise ValueError(f"scale must be 'feature', 'all' or None, not {self.scale!r:.80}")
        if not isinstance(self.device, str):
            raise ValueError(f"device must be a name, such as 'golden', not {self.device!r:.80}: copies can't share an open one")
        self.classes_, labels = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(f"y has one class only, {self.classes_.tolist()[0]!r}: two are needed")
        if self.scale is not None:
            axis = 0 if self.scale == "feature" else None
            self.low_, self.high_ = X.min(axis).astype(np.float64), X.max(axis).astype(np.float64)
            if not np.any(self.high_ > self.low_):
                raise ValueError("X is the same in all its rows: there is nothing to tell the classes by")
        network = self._network(X.shape[1], len(self.classes_))
        images = self._images(X, network)
        times = -(-self.batch // len(images)) if len(images) < self.batch else 1
        repeated, epochs = np.tile(np.arange(len(images)), times), count("epochs", self.epochs)
        with Trainer(
            network,
            self.device,
            configuration=self.configuration,
            settings=self._settings(),
            rate=usual(network, SMALL_DATA_RATE) if self.rate is None else self.rate,
            schedule=self.schedule,
        ) as trainer:
            self.history_: History = trainer.fit(images[repeated], labels[repeated], epochs=epochs, progress=bool(self.verbose))
            self.checkpoint_ = trainer.snapshot()
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probabilities (N, C) float32 of the classes, each row summing to 1."""
        check_is_fitted(self)
        X = validate_data(self, _rows(X), dtype="numeric", reset=False)
        saved = self.checkpoint_
        with Trainer.load(saved) as trainer:
            return trainer.predict(self._images(X, saved.network))

    def predict(self, X: Any) -> np.ndarray:
        """The most probable label of each row, (N,) of the type of y."""
        probabilities = self.predict_proba(X)
        return self.classes_[probabilities.argmax(1)]

    def _settings(self) -> Settings:
        state = self.random_state
        seed: Any = state if isinstance(state, (int, np.integer)) else check_random_state(state).randint(2**31 - 1)
        slope_planes = min(Settings().slope_planes, self.input_planes)
        return Settings(self.batch, self.gradient_planes, self.input_planes, slope_planes, seed=seed)

    def _network(self, features: int, classes: int) -> Network:
        network = self.network
        if network is None:
            hidden = (self.hidden,) if isinstance(self.hidden, (int, np.integer)) else self.hidden
            return Network((features,), [*map(Dense, hidden), Dense(classes)], "classifier")
        if callable(network):
            network = network(features, classes)
        if not isinstance(network, Network):
            raise ValueError(f"network must be a Network, or a function of features and classes, not {network!r:.80}")
        size = int(np.prod(network.input_shape))
        if (size, network.classes) != (features, classes):
            raise ValueError(
                f"network {network.name!r} takes {size} features and has {network.classes} classes, X and y have {features} and "
                f"{classes}"
            )
        return network

    def _images(self, X: np.ndarray, network: Network) -> np.ndarray:
        """Rows as images of the network."""
        if self.scale is not None:
            # In halves, so that the range of the largest floats is none too large.
            span = self.high_ / 2 - self.low_ / 2
            part = (X / 2 - self.low_ / 2) / np.where(span > 0, span, 1)
            X = np.rint(255 * np.clip(part, 0, 1)).astype(np.uint8)
        return X.reshape(-1, *network.input_shape)


def _rows(X: Any) -> Any:
    """Images as rows; all else as it is."""
    return X.reshape(len(X), -1) if isinstance(X, np.ndarray) and X.ndim > 2 and len(X) else X
