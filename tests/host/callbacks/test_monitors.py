"""Callbacks that follow a number, and the table of a run, held against the history."""

import csv

import numpy as np
import pytest
from trainings import Stop

from bnnedge import BestCheckpoint, Callback, CSVLogger, Dense, EarlyStopping, Network, PeriodicCheckpoint, Settings, Trainer

NETWORK = Network((4, 4), [Dense(16), Dense(4)])
RANDOM = np.random.RandomState(1)
X, Y = RANDOM.randint(0, 256, (192, 4, 4)).astype(np.uint8), np.arange(192) % 4
TEST = RANDOM.randint(0, 256, (100, 4, 4)).astype(np.uint8), np.arange(100) % 4


def make():
    return Trainer(NETWORK, settings=Settings(batch=64), rate=0.05)


WHOLE = make().fit(X, Y, epochs=12, validation_data=TEST)


class Ends(Callback):
    """Ends a run after some epochs."""

    def __init__(self, epochs):
        self.epochs = epochs

    def on_epoch_end(self, epoch, logs):
        return epoch + 1 == self.epochs


def stopped(values, patience, better, delta=0.0):
    """Epochs that a run has, its best one, and whether it is ended early, if only after its last one; by the definition."""
    best, at = None, 0
    for epoch, value in enumerate(values):
        if best is None or (better(value, best) and abs(value - best) > delta):
            best, at = value, epoch
        elif epoch - at >= max(1, patience):
            return epoch + 1, at, True
    return len(values), at, False


@pytest.mark.parametrize("monitor", ["val_loss", "val_accuracy", "loss", "accuracy"])
@pytest.mark.parametrize("patience", [0, 1, 2, 3, 20])
@pytest.mark.parametrize("delta", [0, 0.02])
def test_early_stopping(monitor, patience, delta):
    trainer = make()
    early = EarlyStopping(monitor, delta, patience)
    history = trainer.fit(X, Y, epochs=12, validation_data=TEST, callbacks=[early])
    better = (lambda a, b: a > b) if "accuracy" in monitor else (lambda a, b: a < b)
    epochs, best, ended = stopped(WHOLE.history[monitor], patience, better, delta)
    assert history.history[monitor] == WHOLE.history[monitor][:epochs]
    assert (early.best_epoch, early.best) == (best, WHOLE.history[monitor][best])
    assert early.stopped_epoch == (epochs - 1 if ended else None)


def test_a_run_that_is_resumed_stops_where_the_whole_one_does(tmp_path):
    whole, part = make(), make()
    expected = whole.fit(X, Y, epochs=12, validation_data=TEST, callbacks=EarlyStopping(patience=2))
    assert 2 < len(expected.epoch) < 12
    with pytest.raises(KeyboardInterrupt):
        part.fit(X, Y, epochs=12, validation_data=TEST, callbacks=[EarlyStopping(patience=2), Stop(7)], steps_per_call=1)
    part.save(tmp_path / "c.npz")
    part = Trainer.load(tmp_path / "c.npz")
    assert part.fit(X, Y, validation_data=TEST, callbacks=EarlyStopping(patience=2), resume=True) == expected
    with pytest.warns(RuntimeWarning, match="has not become better for 2 epochs: it ends at once"):
        assert part.fit(X, Y, validation_data=TEST, callbacks=EarlyStopping(patience=2), resume=True) == expected


@pytest.mark.parametrize("patience", [2, 20])
def test_the_best_weights_come_back(patience):
    trainer, other = make(), make()
    early = EarlyStopping("val_accuracy", patience=patience, restore_best_weights=True)
    history = trainer.fit(X, Y, epochs=12, validation_data=TEST, callbacks=early)
    best = early.best_epoch
    assert best + 1 < len(history.epoch) == len(trainer.history.epoch)
    assert trainer.evaluate(*TEST)["accuracy"] == max(history.history["val_accuracy"])
    with pytest.raises(KeyboardInterrupt):
        other.fit(X, Y, epochs=12, validation_data=TEST, callbacks=[Stop(3 * (best + 1) + 1)], steps_per_call=1)
    assert trainer.plan.step == 3 * (best + 1)
    assert trainer.fit(X, Y, validation_data=TEST, resume=True) == WHOLE, "from there the run goes on bit for bit"


def test_weights_of_before_are_not_restored():
    trainer = make()
    trainer.fit(X, Y, epochs=12, validation_data=TEST, callbacks=Ends(1))
    early = EarlyStopping("val_loss", 100, 3, restore_best_weights=True)
    with pytest.warns(RuntimeWarning, match="was the best, but before this run was resumed"):
        trainer.fit(X, Y, validation_data=TEST, callbacks=early, resume=True)


def test_nothing_is_restored_after_a_failure():
    trainer = make()
    with pytest.raises(KeyboardInterrupt):
        trainer.fit(
            X, Y, epochs=4, callbacks=[EarlyStopping("loss", restore_best_weights=True, patience=9), Stop(5)], steps_per_call=1
        )
    assert trainer.state.step == 5


def test_best_checkpoint(tmp_path, capsys):
    trainer = make()
    path = tmp_path / "new" / "best.npz"
    best = BestCheckpoint(path, "val_accuracy", verbose=1)
    history = trainer.fit(X, Y, epochs=12, validation_data=TEST, callbacks=[best])
    loaded = Trainer.load(path)
    assert loaded.evaluate(*TEST)["accuracy"] == max(history.history["val_accuracy"])
    assert loaded.plan.closed == best.best_epoch + 1
    assert capsys.readouterr().out.count("saved to") == len({*np.maximum.accumulate(history.history["val_accuracy"])})
    assert loaded.fit(X, Y, validation_data=TEST, resume=True) == WHOLE


def test_a_worse_one_of_a_resumed_run_replaces_no_better_one(tmp_path):
    trainer, path = make(), tmp_path / "best.npz"
    trainer.fit(X, Y, epochs=12, validation_data=TEST, callbacks=[BestCheckpoint(path), Ends(5)])
    trainer.fit(X, Y, validation_data=TEST, resume=True, callbacks=BestCheckpoint(path))
    assert Trainer.load(path).plan.closed == int(np.argmin(WHOLE.history["val_loss"])) + 1


def test_an_epoch_that_another_callback_was_interrupted_in_is_saved_too(tmp_path):
    class Interrupts(Callback):
        def on_epoch_end(self, epoch):
            if epoch == 1:
                raise KeyboardInterrupt

    kept, path = tmp_path / "kept.npz", tmp_path / "{epoch}-{loss:.3f}.npz"
    with pytest.raises(KeyboardInterrupt):
        make().fit(X, Y, epochs=12, callbacks=[PeriodicCheckpoint(kept), Interrupts(), BestCheckpoint(path, "loss")])
    trainer, losses = Trainer.load(kept), WHOLE.history["loss"]
    assert losses[1] < losses[0]
    assert not (second := tmp_path / f"2-{losses[1]:.3f}.npz").exists()
    trainer.fit(X, Y, resume=True, callbacks=BestCheckpoint(path, "loss"))
    assert second.read_bytes() == kept.read_bytes()


def test_names_of_checkpoints(tmp_path):
    make().fit(X, Y, epochs=2, callbacks=BestCheckpoint(tmp_path / "{epoch:02d}-{loss:.2f}.npz", "loss"))
    assert sorted(path.name for path in tmp_path.iterdir())[0] == f"01-{WHOLE.history['loss'][0]:.2f}.npz"


@pytest.mark.parametrize(
    ("make_callback", "error", "text"),
    [
        (lambda folder: EarlyStopping(), ValueError, "EarlyStopping monitors 'val_loss', but fit has no validation data: give"),
        (lambda folder: BestCheckpoint("c.npz"), ValueError, "BestCheckpoint monitors 'val_loss', but fit has no "),
        (lambda folder: BestCheckpoint(folder, "loss"), OSError, "is a folder; give the name of a file"),
        (lambda folder: BestCheckpoint("{epochs}", "loss"), ValueError, r"can't be filled in \('epochs'\); there are {epoch}"),
        (lambda folder: BestCheckpoint("{val_loss}", "loss"), ValueError, r"can't be filled in \('val_loss'\)"),
        (lambda folder: BestCheckpoint("{epoch", "loss"), ValueError, "can't be filled in"),
        (lambda folder: BestCheckpoint("/dev/null/c.npz", "loss"), OSError, "Not a directory"),
        (lambda folder: CSVLogger(folder), OSError, "is a folder"),
        (lambda folder: CSVLogger("/dev/null/log.csv"), OSError, "Not a directory"),
    ],
)
def test_what_cannot_be_is_known_before_the_run(tmp_path, make_callback, error, text):
    trainer = make()
    with pytest.raises(error, match=text):
        trainer.fit(X, Y, callbacks=make_callback(tmp_path))
    assert (trainer.plan, trainer.state.step) == (None, 0)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"monitor": "val_acc"}, "monitor must be one of loss, .*, not 'val_acc': did you mean 'val_accuracy'?"),
        ({"monitor": "f1"}, "monitor must be one of loss, accuracy, val_loss, val_accuracy, not 'f1'$"),
        ({"monitor": ["loss"]}, "monitor must be one of"),
        ({"mode": "best"}, "mode must be one of auto, min, max, not 'best'"),
        ({"min_delta": -1}, "min_delta must be a number, 0 or more, not -1"),
        ({"min_delta": float("nan")}, "min_delta must be a number"),
        ({"patience": 1.5}, "patience must be a whole number of epochs, 0 or more, not 1.5"),
        ({"patience": -1}, "patience must be"),
        ({"baseline": "low"}, "baseline must be a number or None, not 'low'"),
        ({"start_from_epoch": -1}, "start_from_epoch must be a whole number, 0 or more, not -1"),
    ],
)
def test_arguments(arguments, text):
    with pytest.raises(ValueError, match=f"^EarlyStopping: {text}"):
        EarlyStopping(**arguments)


def test_baseline_and_start():
    early = EarlyStopping("loss", baseline=0.0, patience=2)
    assert len(make().fit(X, Y, epochs=12, callbacks=early).epoch) == 2, "no loss is below"
    early = EarlyStopping("loss", baseline=0.0, patience=2, start_from_epoch=3)
    assert len(make().fit(X, Y, epochs=12, callbacks=early).epoch) == 5


def test_early_stopping_speaks_if_asked(capsys):
    make().fit(X, Y, epochs=12, callbacks=EarlyStopping("loss", min_delta=9, patience=2, verbose=1, restore_best_weights=True))
    assert capsys.readouterr().out == (
        "epoch 3: loss has not become better for 2 epochs, the run ends\n"
        f"the weights are those of epoch 1, loss {WHOLE.history['loss'][0]:.4g}\n"
    )


class TestCSVLogger:
    def test_table(self, tmp_path):
        path = tmp_path / "new" / "log.csv"
        make().fit(X, Y, epochs=12, validation_data=TEST, callbacks=CSVLogger(path))
        with open(path, newline="") as file:
            rows = list(csv.DictReader(file))
        assert [int(row["epoch"]) for row in rows] == WHOLE.epoch
        for name, values in WHOLE.history.items():
            assert [float(row[name]) for row in rows] == values

    def test_without_validation(self, tmp_path):
        make().fit(X, Y, callbacks=CSVLogger(tmp_path / "log.csv", ";"))
        assert (tmp_path / "log.csv").read_text().splitlines()[0] == "epoch;loss;accuracy;rate"

    def test_is_whole_after_each_epoch(self, tmp_path):
        with pytest.raises(KeyboardInterrupt):
            make().fit(X, Y, epochs=4, callbacks=[CSVLogger(tmp_path / "log.csv"), Stop(8)], steps_per_call=1)
        assert len((tmp_path / "log.csv").read_text().splitlines()) == 1 + 2

    @pytest.mark.parametrize("append", [True, False])
    def test_a_resumed_run_has_all_epochs_once(self, tmp_path, append):
        trainer, path = make(), tmp_path / "log.csv"
        trainer.fit(X, Y, epochs=2, callbacks=CSVLogger(path, append=append))
        trainer.fit(X, Y, epochs=5, callbacks=CSVLogger(path, append=append), resume=True)
        assert [line.split(",")[0] for line in path.read_text().splitlines()] == ["epoch", "0", "1", "2", "3", "4"]

    def test_another_run_below(self, tmp_path):
        trainer, path = make(), tmp_path / "log.csv"
        for _ in range(2):
            trainer.fit(X, Y, epochs=2, callbacks=CSVLogger(path, append=True))
        assert [line.split(",")[0] for line in path.read_text().splitlines()] == ["epoch", "0", "1", "0", "1"]
        with pytest.raises(ValueError, match=r"log\.csv has the columns 'epoch,loss,accuracy,rate', not 'epoch,loss"):
            trainer.fit(X, Y, validation_data=TEST, callbacks=CSVLogger(path, append=True))

    def test_below_a_file_without_a_last_line_end(self, tmp_path):
        path = tmp_path / "log.csv"
        path.write_text("epoch,loss,accuracy,rate\n0,1,1,1")
        make().fit(X, Y, callbacks=CSVLogger(path, append=True))
        assert [line[0] for line in path.read_text().splitlines()] == ["e", "0", "0"]

    @pytest.mark.parametrize("separator", ["", ", ", "\n", '"', None])
    def test_separator(self, separator):
        with pytest.raises(ValueError, match="separator must be one character"):
            CSVLogger("log.csv", separator)
