"""Keywords of other libraries: the answer says what is meant here, or where it belongs."""

import inspect

import numpy as np
import pytest

import bnnedge
from bnnedge import Augment, BestCheckpoint, Conv2D, CSVLogger, Dense, EarlyStopping, MaxPool2D, Network, Settings, Trainer
from bnnedge.keywords import LAYERS, METHODS, SAME, meant

NETWORK = Network((4, 4), [Dense(16), Dense(4)])
X, Y = np.full((64, 4, 4), 200, np.uint8), np.arange(64) % 4


@pytest.fixture(scope="module")
def trainer():
    return Trainer(NETWORK, settings=Settings(batch=64))


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda t: Settings(batch_size=64), "Settings has no 'batch_size': did you mean `batch`?"),
        (lambda t: Settings(optimizer="adam"), "Settings has no 'optimizer': did you mean `optimiser`?"),
        (lambda t: Settings(grad_planes=4), "Settings has no 'grad_planes': did you mean `gradient_planes`?"),
        (lambda t: Settings(learning_rate=0.1), "Settings has no 'learning_rate': did you mean Trainer(rate=...)?"),
        (lambda t: Settings(random_state=1), "Settings has no 'random_state': did you mean `seed`?"),
        (lambda t: Settings(zzz=1), "Settings has no 'zzz': there are batch, gradient_planes, input_planes, slope_planes, "),
        (lambda t: Trainer(NETWORK, lr=0.1), "Trainer has no 'lr': did you mean `rate`?"),
        (lambda t: Trainer(NETWORK, batch_size=64), "Trainer has no 'batch_size': did you mean Settings(batch=...)?"),
        (lambda t: Trainer(NETWORK, batch=64), "Trainer has no 'batch': did you mean Settings(batch=...)?"),
        (lambda t: Trainer(NETWORK, loss="mse"), "Trainer has no 'loss': the loss is cross-entropy"),
        (lambda t: Trainer(NETWORK, metrics=["accuracy"]), "Trainer has no 'metrics': loss and accuracy are always told"),
        (lambda t: Trainer(NETWORK, epochs=3), "Trainer has no 'epochs': did you mean fit(epochs=...)?"),
        (lambda t: t.fit(X, Y, batch_size=64), "Trainer.fit has no 'batch_size': did you mean Settings(batch=...)?"),
        (lambda t: t.fit(X, Y, verbose=0), "Trainer.fit has no 'verbose': did you mean `progress`?"),
        (lambda t: t.fit(X, Y, epoch=2), "Trainer.fit has no 'epoch': did you mean `epochs`?"),
        (lambda t: t.fit(X, Y, initial_epoch=2), "Trainer.fit has no 'initial_epoch': resume=True goes on where the last "),
        (lambda t: t.fit(X, Y, class_weight={}), "Trainer.fit has no 'class_weight': all images weigh the same"),
        (lambda t: t.fit(X, Y, steps_per_epoch=5), "Trainer.fit has no 'steps_per_epoch': an epoch is all of x; steps,"),
        (lambda t: t.fit(X, Y, validation_batch_size=5), "Trainer.fit has no 'validation_batch_size': all of validation_data"),
        (lambda t: t.fit(X, Y, schedule="step"), "Trainer.fit has no 'schedule': did you mean Trainer(schedule=...)?"),
        (lambda t: t.evaluate(X, Y, return_dict=True), "Trainer.evaluate has no 'return_dict': evaluate always returns a dict"),
        (lambda t: t.predict(X, batch_size=5), "Trainer.predict has no 'batch_size': did you mean Settings(batch=...)?"),
        (lambda t: Trainer.load("c.npz", learning_rate=0.1), "Trainer.load has no 'learning_rate': did you mean `rate`?"),
        (lambda t: Dense(16, activation="relu"), "Dense has no 'activation': batch norm, sign and softmax are built in"),
        (lambda t: Dense(16, input_shape=(4,)), "Dense has no 'input_shape': did you mean Network(input_shape=...)?"),
        (lambda t: Conv2D(16, kernel_size=3), "Conv2D has no 'kernel_size': did you mean `kernel`?"),
        (lambda t: Conv2D(16, strides=2), "Conv2D has no 'strides': did you mean `stride`?"),
        (lambda t: MaxPool2D(pool_size=2), "MaxPool2D has no 'pool_size': windows are of 2 x 2: MaxPool2D()"),
        (lambda t: Augment(horizontal_flip=True), "Augment has no 'horizontal_flip': did you mean `flip`?"),
        (lambda t: EarlyStopping(restore_best=True), "EarlyStopping has no 'restore_best': did you mean `restore_best_weights`?"),
        (lambda t: BestCheckpoint("c", save_best_only=True), "BestCheckpoint has no 'save_best_only': BestCheckpoint always"),
        (lambda t: CSVLogger("c", sep=";"), "CSVLogger has no 'sep': "),
    ],
)
def test_answers(trainer, call, text):
    with pytest.raises(TypeError) as refusal:
        call(trainer)
    assert str(refusal.value).startswith(text)
    assert "\n" not in str(refusal.value)


def test_what_is_meant_is_there():
    calls = [Settings, Trainer, Trainer.fit, Network, Conv2D, Dense, Augment]
    known = {"hidden", *(name for call in calls for name in inspect.signature(call).parameters)}
    assert set(SAME.values()) <= known
    assert not set(SAME) & known


def test_signatures_stay():
    assert list(inspect.signature(Settings).parameters)[:2] == ["batch", "gradient_planes"]
    assert "epochs" in inspect.signature(Trainer.fit).parameters
    assert Dense.__init__.__qualname__.startswith("Dense") or Dense.__init__.__wrapped__


@pytest.mark.parametrize("name", LAYERS)
def test_layers_of_others(name):
    with pytest.raises(ImportError, match=f"^bnnedge has no {name}: "):
        getattr(bnnedge, name)
    layer = type(name, (), {})()
    with pytest.raises(ValueError, match=r"is of no kind that can be trained here; there are: .*; "):
        Network((4, 4), [layer, Dense(4)])


def test_other_names_are_missing_as_ever():
    assert not hasattr(bnnedge, "nothing")


def test_values_that_keras_takes():
    with pytest.raises(ValueError, match=r"not \(3, 3\); windows are square"):
        Conv2D(16, (3, 3))
    with pytest.raises(ValueError, match=r"not 2; its windows are always of 2 x 2: MaxPool2D\(\)"):
        MaxPool2D(2)
    with pytest.raises(ValueError, match=r"layer Dense is a class: make an object of it, Dense\(\.\.\.\)"):
        Network((4, 4), [Dense])


def test_without_names(trainer):
    with pytest.raises(TypeError, match=r"^Trainer.fit takes x, y without their names; there are, by name, epochs=\.\.\.,"):
        trainer.fit(X, Y, 64, 10)
    with pytest.raises(TypeError, match=r"^Dense takes units and nothing else: batch norm, sign and softmax are built in$"):
        Dense(16, "relu")
    with pytest.raises(TypeError, match=r"^MaxPool2D takes on and nothing else: windows are of 2 x 2: MaxPool2D\(\)$"):
        MaxPool2D(2, 2)


def test_arguments_that_are_missing(trainer):
    with pytest.raises(TypeError, match=r"^Trainer.fit needs y: fit\(x, y\)$"):
        trainer.fit(X)
    with pytest.raises(TypeError, match=r"^Network needs layers: Network\(input_shape, layers\)$"):
        Network([Dense(4)])
    with pytest.raises(TypeError, match=r"^Dense needs units: Dense\(units\)$"):
        Dense()
    assert Dense(units=4) == Dense(4)
    assert Network(layers=[Dense(4)], input_shape=(4,)) == Network((4,), [Dense(4)])


def test_callbacks_where_keras_has_them():
    from bnnedge import callbacks

    assert callbacks.EarlyStopping is EarlyStopping
    for module in callbacks, bnnedge:
        with pytest.raises(ImportError, match=r"^bnnedge has no ReduceLROnPlateau: use Trainer\(schedule=\"plateau\"\)$"):
            getattr(module, "ReduceLROnPlateau")  # noqa: B009
        assert not hasattr(module, "BackupAndRestart")


def test_methods_of_others(trainer):
    assert not hasattr(trainer, "compile")
    assert not hasattr(NETWORK, "fit")
    for owner, name, text in (
        (trainer, "compile", "'Trainer' object has no attribute 'compile': there is nothing to compile"),
        (trainer, "predict_classes", r"predict\(x\).argmax\(1\) gives them$"),
        (trainer, "evalute", "'Trainer' object has no attribute 'evalute'$"),
        (NETWORK, "fit", r"'Network' object has no attribute 'fit': a Trainer does that, Trainer\(network\).fit\(x, y\)$"),
    ):
        with pytest.raises(AttributeError, match=text):
            getattr(owner, name)
    for name in METHODS:  # what is there has no entry
        assert not hasattr(Trainer, name) or not hasattr(Network, name)


def test_no_hint():
    assert meant("zzz", []) == "there are none"
