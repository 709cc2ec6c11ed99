"""Habits from Keras and scikit-learn."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

import bnnedge
from bnnedge import BestCheckpoint, Callback, Conv2D, CSVLogger, Dense, EarlyStopping, MaxPool2D, Network, Settings, Trainer
from situations import Row, says, works

os.environ.setdefault("KERAS_BACKEND", "jax")

RANDOM = np.random.RandomState(1)
X, Y = RANDOM.randint(0, 256, (192, 4, 4)).astype(np.uint8), np.arange(192) % 4
NETWORK = Network((4, 4), [Dense(16), Dense(4)], "tiny")


def trainer(**options: Any) -> Trainer:
    return Trainer(NETWORK, settings=options.pop("settings", Settings(batch=64)), **options)


def fit(**options: Any) -> Trainer:
    """Two epochs of three steps, unless told otherwise."""
    with trainer() as trained:
        trained.fit(options.pop("x", X), options.pop("y", Y), **{"epochs": 2, **options})
    return trained


def steps(count: int) -> Callable[[Trainer], None]:
    """An outcome: so many steps were taken."""

    def check(trained: Trainer) -> None:
        assert trained.state.step == count

    return check


def epochs(count: int) -> Callable[[Any], None]:
    """An outcome: a history of so many epochs, under all names."""

    def check(history: bnnedge.History) -> None:
        assert history.epoch == list(range(count))
        assert {len(values) for values in history.history.values()} == {count}

    return check


def printed(act: Callable[[], Any]) -> str:
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        act()
    return out.getvalue()


def empty(text: str) -> None:
    """An outcome: nothing is printed."""
    assert text == ""


class Hook(Callback):
    """A callback with one method, which does what it is given."""

    def __init__(self, hook: str, act: Callable[..., Any]) -> None:
        setattr(self, hook, act)


class Sets(Callback):
    def on_epoch_end(self, epoch: int, logs: Mapping[str, float]) -> None:
        self.trainer.stop_training = True


class Lacks:
    def on_epoch_end(self, epoch: int, logs: Mapping[str, float]) -> None: ...


class Async(Callback):
    async def on_epoch_end(self, epoch: int, logs: Any = None) -> None: ...


class KerasLike(Callback):
    """As one writes it for Keras: `logs=None`, and `self.model`."""

    def on_train_begin(self, logs: Any = None) -> None:
        self.best = np.inf

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None: ...

    def on_epoch_end(self, epoch: int, logs: Any = None) -> bool | None:
        self.best = min(self.best, logs.get("loss"))
        assert self.model is self.trainer
        return None

    def on_train_end(self, logs: Any = None) -> None:
        assert self.best < np.inf


class Typed(Callback):
    def on_epochs_end(self, epoch: int, logs: Mapping[str, float]) -> None: ...


class PerBatch(Callback):
    def on_train_batch_end(self, batch: int, logs: Any = None) -> None: ...


def boom(*arguments: Any) -> None:
    raise RuntimeError("boom")


def late(*arguments: Any) -> None:
    raise RuntimeError("late")


def both_fail(folder: Path) -> Any:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit(callbacks=[Hook("on_epoch_end", boom), Hook("on_train_end", late)])


def interrupted(folder: Path) -> Any:
    def interrupt(step: int, logs: Mapping[str, float]) -> None:
        if step == 7:
            raise KeyboardInterrupt

    with trainer() as trained:
        with contextlib.suppress(KeyboardInterrupt):
            trained.fit(X, Y, epochs=5, steps_per_call=1, callbacks=Hook("on_batch_end", interrupt))
        return trained.history


def not_before_training(act: Callable[[Trainer], Any]) -> Callable[[Path], None]:
    """What is refused is refused with nothing trained; the error goes on."""

    def tried(folder: Path) -> None:
        with trainer() as trained:
            try:
                act(trained)
            finally:
                assert (trained.plan, trained.state.step) == (None, 0)

    return tried


def refused(**options: Any) -> Callable[[Path], None]:
    return not_before_training(lambda trained: trained.fit(X, Y, **options))


def keras_callback(name: str) -> Callable[[Path], None]:
    def tried(folder: Path) -> None:
        import keras

        fit(callbacks=[getattr(keras.callbacks, name)(*(["c.keras"] if name == "ModelCheckpoint" else []))])

    return tried


def keras_layer(folder: Path) -> None:
    import keras

    Network((4, 4), [keras.layers.Dense(16), Dense(4)])


def keras_model(folder: Path) -> None:
    import keras

    Trainer(keras.Sequential([keras.Input((4, 4)), keras.layers.Dense(4)]))


CALLBACKS = [
    Row("stop_training set by a callback", lambda folder: fit(epochs=5, callbacks=[Sets()]), steps(3)),
    Row("True returned by a method", lambda folder: fit(epochs=5, callbacks=[Hook("on_epoch_end", lambda *a: True)]), steps(3)),
    Row("NumPy's truth returned", lambda folder: fit(callbacks=Hook("on_epoch_end", lambda e, logs: np.bool_(True))), steps(3)),
    Row(
        "True returned within an epoch",
        lambda folder: fit(callbacks=[Hook("on_batch_end", lambda *a: True)], steps_per_call=1),
        steps(1),
    ),
    Row("a method that is async", lambda folder: fit(callbacks=[Async()]), "on_epoch_end of callback Async is async"),
    Row("one callback that is not in a list", lambda folder: fit(callbacks=KerasLike()), steps(6)),
    Row("no callbacks: None", lambda folder: fit(callbacks=None), steps(6)),
    Row("methods as one writes them for Keras", lambda folder: fit(callbacks=[KerasLike()]), steps(6)),
    Row("a class instead of an object", refused(callbacks=[EarlyStopping]), r"the class EarlyStopping: make an object of it"),
    Row("a class, not in a list", refused(callbacks=CSVLogger), "the class CSVLogger: make an object of it"),
    Row("a plain function", refused(callbacks=[lambda epoch, logs: None]), "is a function: derive a class from bnnedge.Callback"),
    Row("an object that lacks methods", refused(callbacks=[Lacks()]), "Lacks is no bnnedge.Callback: derive a class from"),
    Row("a method that is misspelt", refused(callbacks=[Typed()]), "has on_epochs_end, .* did you mean on_epoch_end"),
    Row("a method that only Keras calls", refused(callbacks=[PerBatch()]), "on_train_batch_end, .* did you mean on_batch_end"),
    Row("a method without arguments", refused(callbacks=[Hook("on_epoch_end", lambda: None)]), r"takes \(\), but fit calls it"),
    Row("a callback that fails at once", refused(callbacks=[Hook("on_train_begin", boom)]), "boom"),
    Row("a callback that fails, and once more at the end", both_fail, "boom"),
    Row("a callback that fails at the end alone", lambda folder: fit(callbacks=[Hook("on_train_end", late)]), "late"),
    Row("an interrupt: what history there is", interrupted, epochs(2)),
    Row("Keras's EarlyStopping", keras_callback("EarlyStopping"), "one of Keras's: use bnnedge.EarlyStopping", ("keras", "jax")),
    Row("Keras's ModelCheckpoint", keras_callback("ModelCheckpoint"), "use bnnedge.BestCheckpoint", ("keras", "jax")),
    Row("another one of Keras's", keras_callback("Callback"), "derive a class from bnnedge.Callback", ("keras", "jax")),
    Row("EarlyStopping", lambda folder: fit(epochs=50, callbacks=EarlyStopping("loss", min_delta=9, patience=2)), steps(9)),
    Row("EarlyStopping without validation data", refused(callbacks=EarlyStopping()), "monitors 'val_loss', but fit has no"),
    Row("EarlyStopping by val_acc", lambda folder: EarlyStopping("val_acc"), "did you mean 'val_accuracy'"),
    Row("EarlyStopping(restore_best=...)", lambda folder: EarlyStopping(restore_best=True), "mean `restore_best_weights`"),
    Row(
        "a best checkpoint in a new folder",
        lambda folder: (
            fit(validation_split=0.2, callbacks=BestCheckpoint(folder / "new" / "{epoch}.npz")),
            Trainer.load(folder / "new" / "1.npz").close(),
        ),
        works,
    ),
    Row("a best checkpoint where a folder is", lambda folder: fit(callbacks=BestCheckpoint(folder, "loss")), "is a folder"),
    Row(
        "a table of the epochs",
        lambda folder: (fit(callbacks=CSVLogger("log.csv")), Path("log.csv").read_text())[1],
        says("epoch,loss,accuracy,rate\n0,", "\n1,"),
    ),
    Row(
        "a table below one of other columns",
        lambda folder: (
            fit(callbacks=CSVLogger("log.csv")),
            fit(callbacks=CSVLogger("log.csv", append=True), validation_split=0.2),
        ),
        "log.csv has the columns 'epoch,loss,acc",
    ),
]

KEYWORDS = [
    Row("fit(batch_size=...)", refused(batch_size=32), r"no 'batch_size': did you mean Settings\(batch=...\)"),
    Row("fit(verbose=0)", refused(verbose=0), "did you mean `progress`"),
    Row("fit(initial_epoch=3)", refused(initial_epoch=3), "resume=True goes on where the last run was"),
    Row("fit(class_weight=...)", refused(class_weight={0: 1.0}), "all images weigh the same"),
    Row("fit(sample_weight=...)", refused(sample_weight=Y), "all images weigh the same"),
    Row("fit(steps_per_epoch=...)", refused(steps_per_epoch=2), "an epoch is all of x"),
    Row("fit(validation_batch_size=...)", refused(validation_batch_size=2), "all of validation_data is evaluated"),
    Row("fit(learning_rate=...)", refused(learning_rate=0.1), r"did you mean Trainer\(rate=...\)"),
    Row("fit(suffle=False)", refused(suffle=False), "did you mean `shuffle`"),
    Row("evaluate(batch_size=...)", lambda folder: trainer().evaluate(X, Y, batch_size=32), "evaluate has no 'batch_size'"),
    Row("predict(verbose=0)", lambda folder: trainer().predict(X, verbose=0), "Trainer.predict has no 'verbose'"),
    Row("fit(x, y, 64, 10)", lambda folder: trainer().fit(X, Y, 64, 10), "takes x, y without their names; there are, by name,"),
    Row("Dense(16, 'relu')", lambda folder: Dense(16, "relu"), "Dense takes units and nothing else: batch norm, sign"),
    Row("MaxPool2D(2, 2)", lambda folder: MaxPool2D(2, 2), r"nothing else: windows are of 2 x 2: MaxPool2D\(\)"),
    Row("Dense(16, name='fc1')", lambda folder: Dense(16, name="fc1"), "its layers are numbered"),
    Row("Network(16, ...)", lambda folder: Network(16, [Dense(4)]), r"input_shape must be a tuple, such as \(16,\)"),
    Row("Trainer(Network)", lambda folder: Trainer(Network), "the class Network: make an object of it"),
    Row("compile", lambda folder: trainer().compile(optimizer="adam"), "'compile': there is nothing to compile"),
    Row("fit of a network", lambda folder: NETWORK.fit(X, Y), r"'fit': a Trainer does that, Trainer\(network\).fit"),
    Row("load_weights", lambda folder: trainer().load_weights("w.h5"), r"Trainer.load\(path\) makes a trainer"),
    Row("bnnedge.ModelCheckpoint", lambda folder: bnnedge.ModelCheckpoint, "no ModelCheckpoint: use bnnedge.BestCheckpoint"),
    Row("bnnedge.BackupAndRestore", lambda folder: bnnedge.BackupAndRestore, "use bnnedge.PeriodicCheckpoint"),
    Row("bnnedge.callbacks.ReduceLROnPlateau", lambda folder: bnnedge.callbacks.ReduceLROnPlateau, "use Trainer.schedule="),
    Row("fit(shuffle='batch')", refused(shuffle="batch"), "shuffle must be True or False, not 'batch'"),
    Row("fit(resume='run.npz')", refused(resume="run.npz"), "resume must be True or False, not 'run.npz'"),
    Row("fit(augment='flip')", refused(augment="flip"), r"augment must be an Augment, such as Augment\(flip=True\)"),
    Row("fit(augment=True)", refused(augment=True), "augment must be an Augment"),
    Row("bnnedge.callbacks.EarlyStopping", lambda folder: bnnedge.callbacks.EarlyStopping("loss"), works),
    Row("Trainer(lr=...)", lambda folder: trainer(lr=0.1), "Trainer has no 'lr': did you mean `rate`"),
    Row("Trainer(optimizer=...)", lambda folder: trainer(optimizer="adam"), r"did you mean Settings\(optimiser=...\)"),
    Row("Trainer(loss=...)", lambda folder: trainer(loss="mse"), "the loss is cross-entropy"),
    Row("Trainer(metrics=...)", lambda folder: trainer(metrics=["accuracy"]), "loss and accuracy are always told"),
    Row("Settings(batch_size=...)", lambda folder: Settings(batch_size=64), "Settings has no 'batch_size': did you mean `batch`"),
    Row("Settings(optimizer=...)", lambda folder: Settings(optimizer="adam"), "did you mean `optimiser`"),
    Row("Dense(activation=...)", lambda folder: Dense(16, activation="relu"), "batch norm, sign and softmax are built in"),
    Row("Dense(input_shape=...)", lambda folder: Dense(16, input_shape=(4, 4)), r"did you mean Network\(input_shape=...\)"),
    Row("Conv2D(kernel_size=...)", lambda folder: Conv2D(16, kernel_size=3), "did you mean `kernel`"),
    Row("Conv2D(strides=...)", lambda folder: Conv2D(16, strides=2), "did you mean `stride`"),
    Row("Conv2D(16, (3, 3))", lambda folder: Conv2D(16, (3, 3)), "windows are square"),
    Row("MaxPool2D(2)", lambda folder: MaxPool2D(2), r"always of 2 x 2: MaxPool2D\(\)"),
    Row("MaxPool2D(pool_size=2)", lambda folder: MaxPool2D(pool_size=2), r"windows are of 2 x 2: MaxPool2D\(\)"),
    Row("BatchNormalization", lambda folder: bnnedge.BatchNormalization, "no BatchNormalization: batch norm, sign and softmax"),
    Row("Dropout", lambda folder: bnnedge.Dropout, "no Dropout: augment of fit varies the images"),
    Row("Sequential", lambda folder: bnnedge.Sequential, r"no Sequential: Network\(input_shape, layers\)"),
    Row("a network without its shape", lambda folder: Network([Dense(4)]), r"Network needs layers: Network\(input_shape, layers"),
    Row("a layer that is not in a list", lambda folder: Network((4, 4), Dense(4)), "layers must be a list of layers"),
    Row("fit of a Dataset", lambda folder: trainer().fit(bnnedge.load("digits")), r"Trainer.fit needs y: fit\(x, y\)"),
    Row("a layer's class", lambda folder: Network((4, 4), [Dense]), r"Dense is a class: make an object of it"),
    Row("a layer of Keras", keras_layer, "is of no kind that can be trained here", ("keras", "jax")),
    Row("a model of Keras", keras_model, "importer.load takes over a saved model of Keras", ("keras", "jax")),
    Row("Trainer(digits), not called", lambda folder: Trainer(bnnedge.digits), r"call it, digits\(\)"),
    Row("Trainer('mlp')", lambda folder: Trainer("mlp"), "network must be a Network"),
    Row("settings without their name", lambda folder: Trainer(NETWORK, Settings()), "device must be a name"),
    Row("settings as a dict", lambda folder: trainer(settings={"batch": 64}).close(), works),
    Row("settings as a dict of Keras's", lambda folder: trainer(settings={"batch_size": 64}), "did you mean `batch`"),
    Row("settings that are a number", lambda folder: trainer(settings=64), r"settings must be Settings\(...\), or a dict"),
    Row("settings that are a class", lambda folder: trainer(settings=Settings), r"settings must be Settings\(...\)"),
]

RUNS = [
    Row("a schedule that is a function", lambda folder: trainer(schedule=lambda n: 0.1 / (n + 1)).fit(X, Y, epochs=3), epochs(3)),
    Row("a schedule of epoch and rate", lambda folder: trainer(schedule=lambda n, rate: rate / 2).fit(X, Y, epochs=3), epochs(3)),
    Row(
        "a schedule that returns nothing",
        not_before_training(lambda _: trainer(schedule=lambda epoch: None).fit(X, Y)),
        "schedule for epoch 0 of 1: rate must be a number",
    ),
    Row(
        "a schedule of arrays without axes",
        lambda folder: trainer(schedule=lambda n: np.array(0.1, np.float32)).fit(X, Y, epochs=2),
        epochs(2),
    ),
    Row(
        "a rate set between runs",
        lambda folder: (
            t := trainer(schedule="constant"),
            setattr(t, "rate", 0.25),
            t.fit(X, Y).history["rate"] == [0.25] or 1 / 0,
        ),
        works,
    ),
    Row("settings set of a trainer", lambda folder: setattr(trainer(), "settings", Settings(128)), "settings of a Trainer"),
    Row("learning_rate set of a trainer", lambda folder: setattr(trainer(), "learning_rate", 0.5), "did you mean `rate`"),
    Row("a rate that can't be, set between runs", lambda folder: setattr(trainer(), "rate", -1), "rate must be a number in"),
    Row("a schedule that is none, set between runs", lambda folder: setattr(trainer(), "schedule", "exp"), "must be one of"),
    Row(
        "a rate set by a callback",
        lambda folder: (t := trainer(), t.fit(X, Y, callbacks=Hook("on_epoch_end", lambda epoch, logs: setattr(t, "rate", 0.5)))),
        "within fit",
    ),
    Row("a copy of a trainer", lambda folder: __import__("copy").deepcopy(trainer()), "make another with Trainer.load"),
    Row("fewer images than a batch", lambda folder: trainer().fit(X[:40], Y[:40]), "40 images, .* or use a smaller batch"),
    Row("fewer images than the smallest batch", lambda folder: trainer().fit(X[:15], Y[:15]), "or these several times"),
    Row("a list as a schedule", lambda folder: trainer(schedule=[0.1, 0.01]), "or a function of the epoch"),
    Row("--rate 2", lambda folder: trainer(rate=2), r"rate must be a number in 3.1e-05..0.499992, not 2"),
    Row("validation_split", lambda folder: trainer().fit(X, Y, epochs=2, validation_split=0.25), epochs(2)),
    Row(
        "validation_split of a class by itself",
        not_before_training(lambda trained: trained.fit(X, np.where(np.arange(192) < 160, Y % 3, 3), validation_split=0.2)),
        "has the label 3",
    ),
    Row(
        "validation_split of sorted labels",
        not_before_training(lambda trained: trained.fit(X, np.sort(Y), validation_split=0.2)),
        "labels are sorted by class",
    ),
    Row("validation_split of 20", refused(validation_split=20), "must be a number in 0..1"),
    Row("validation_split beside validation_data", refused(validation_split=0.2, validation_data=(X, Y)), "not both"),
    Row("one-hot labels", not_before_training(lambda trained: trained.fit(X, np.eye(4)[Y])), r"argmax\(1\)"),
    Row("one-hot labels to validate on", refused(validation_data=(X, np.eye(4)[Y])), r"validation y .*argmax\(1\)"),
    Row("a history without validation", lambda folder: trainer().fit(X, Y, epochs=2), epochs(2)),
    Row(
        "a table of a history",
        lambda folder: __import__("pandas").DataFrame(trainer().fit(X, Y, epochs=2).history).to_csv(),
        says(",loss,accuracy,rate\n0,"),
        ("pandas",),
    ),
    Row(
        "a history whose beginning had no validation",
        lambda folder: (t := trainer(), t.fit(X, Y), t.fit(X, Y, epochs=2, resume=True, validation_data=(X, Y)))[-1],
        epochs(2),
    ),
    Row("summary", lambda folder: printed(trainer().summary), says("layer 1 (dense 16)", "state bytes", "weights", "320")),
    Row("summary of a network", lambda folder: printed(bnnedge.cnv().summary), says("conv2d 64", "pooled: signs", "1,542,848")),
    Row("repr of a trainer", lambda folder: repr(trainer()), says("'tiny' 16-16-4", "golden", "batch 64", "0 steps taken")),
    Row("repr of a history", lambda folder: repr(trainer().fit(X, Y, epochs=2)), says("History(2 epochs: loss ", "accuracy")),
    Row("progress that is no truth", refused(progress="bar"), "progress must be True, False or None"),
    Row("progress in a pipe, if asked for", lambda folder: printed(lambda: fit(progress=True)), says("epoch   2/2: loss")),
    Row("no progress in a pipe", lambda folder: printed(fit), empty),
]


def estimator(**options: Any) -> Any:
    return bnnedge.BNNClassifier((16,), epochs=3, **options)


def searched(folder: Path) -> Any:
    from sklearn.model_selection import GridSearchCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import MinMaxScaler

    pipeline = make_pipeline(MinMaxScaler(), estimator())
    return GridSearchCV(pipeline, {"bnnclassifier__gradient_planes": [1, 8]}, cv=2).fit(X.reshape(192, 16), Y).best_params_


ESTIMATOR = [
    Row("labels that are words", lambda folder: estimator().fit(X, np.array([*"abcd"])[Y]).predict(X[:3]), works, ("sklearn",)),
    Row("a search over a pipeline", searched, works, ("sklearn",)),
    Row("fewer rows than a batch", lambda folder: estimator().fit(X[:9], Y[:9]).score(X, Y), works, ("sklearn",)),
    Row("rows that are all the same", lambda folder: estimator().fit(X * 0 + 3, Y), "X is the same in all", ("sklearn",)),
    Row(
        "callbacks of an estimator",
        lambda folder: estimator().fit(X, Y, callbacks=[]),
        r"did you mean Trainer.fit\(callbacks=...\)",
        ("sklearn",),
    ),
    Row("one class", lambda folder: estimator().fit(X, Y * 0), "y has one class only", ("sklearn",)),
    Row("an open device", lambda folder: estimator(device=object()).fit(X, Y), "device must be a name", ("sklearn",)),
]

ROWS = [*CALLBACKS, *KEYWORDS, *RUNS, *ESTIMATOR]
