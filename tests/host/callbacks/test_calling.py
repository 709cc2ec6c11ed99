"""Callbacks of a run: what can't be called is refused before it begins; what fails hides no other error."""

import numpy as np
import pytest

from bnnedge import Callback, Dense, Network, Settings, Trainer
from bnnedge.callbacks.calling import HOOKS

NETWORK = Network((4, 4), [Dense(16), Dense(4)])
RANDOM = np.random.RandomState(1)
X, Y = RANDOM.randint(0, 256, (192, 4, 4)).astype(np.uint8), np.arange(192) % 4


@pytest.fixture
def trainer():
    return Trainer(NETWORK, settings=Settings(batch=64))


class Recorder(Callback):
    def __init__(self):
        self.seen = []


for hook in HOOKS:
    setattr(Recorder, hook, lambda self, *arguments, hook=hook: self.seen.append((hook, *arguments)))


def test_all_calls_in_order(trainer):
    recorder = Recorder()
    trainer.fit(X, Y, epochs=2, callbacks=recorder, steps_per_call=2)
    assert [hook for hook, *_ in recorder.seen] == [
        "on_train_begin",
        *["on_epoch_begin", "on_batch_end", "on_batch_end", "on_epoch_end"] * 2,
        "on_train_end",
    ]
    assert recorder.seen[0][1] == {"steps": 6, "epochs": 2, "step": 0, "validation": 0}
    assert recorder.seen[1][1:] == (0, {"rate": 0.012})
    assert recorder.seen[-1][1] == {"failed": 0}
    assert recorder.trainer is trainer


@pytest.mark.parametrize("callbacks", [None, (), []])
def test_none(trainer, callbacks):
    trainer.fit(X, Y, callbacks=callbacks)


def test_logs_may_be_left_out(trainer):
    class Short(Callback):
        ended = 0

        def on_train_begin(self):
            pass

        def on_epoch_end(self, epoch):
            self.ended = epoch + 1

        def on_train_end(self):
            assert self.ended == 2

    trainer.fit(X, Y, epochs=2, callbacks=[Short()])


class Stops(Callback):
    def __init__(self, hook, how):
        self.how = how
        setattr(self, hook, self.stop)

    def stop(self, *arguments):
        if self.how == "attribute":
            self.trainer.stop_training = True
            return None
        return self.how


@pytest.mark.parametrize("how", ["attribute", True, np.True_])
@pytest.mark.parametrize(
    ("hook", "steps"), [("on_train_begin", 0), ("on_epoch_begin", 0), ("on_batch_end", 2), ("on_epoch_end", 3)]
)
def test_a_callback_stops_the_run(trainer, how, hook, steps):
    whole = Trainer(NETWORK, settings=Settings(batch=64))
    expected = whole.fit(X, Y, epochs=3)
    history = trainer.fit(X, Y, epochs=3, callbacks=[Stops(hook, how)], steps_per_call=2)
    assert (trainer.state.step, len(history.epoch)) == (steps, steps // 3)
    assert trainer.fit(X, Y, resume=True) == expected
    assert trainer.state.differences(whole.state) == []


@pytest.mark.parametrize("how", [False, None, 1, "yes"])
def test_other_answers_stop_nothing(trainer, how):
    trainer.fit(X, Y, epochs=2, callbacks=[Stops("on_epoch_end", how)])
    assert trainer.state.step == 6


class OneMethod:
    def on_epoch_end(self, epoch, logs):
        pass


def named(name, *parameters):
    scope = {}
    exec(f"def {name}({', '.join(('self', *parameters))}): pass", scope)
    return type("Mine", (Callback,), {name: scope[name]})()


@pytest.mark.parametrize(
    ("callback", "text"),
    [
        (Callback, r"holds the class Callback: make an object of it, Callback\(\.\.\.\)"),
        (print, "callback print is a function: derive a class from bnnedge.Callback, and override"),
        (lambda epoch, logs: None, "callback <lambda> is a function: derive"),
        (OneMethod(), "callback OneMethod is no bnnedge.Callback: derive a class from bnnedge.Callback, and override"),
        ("early", "callback str is no bnnedge.Callback"),
        (3, "callback int is no bnnedge.Callback"),
        (named("on_epoch_end"), r"on_epoch_end of callback Mine takes \(\), but fit calls it with \(epoch, logs\)"),
        (named("on_train_end", "a", "b"), r"on_train_end of callback Mine takes \(a, b\), but fit calls it with \(logs\)"),
        (named("on_train_batch_end", "b", "l"), "has on_train_batch_end, which fit does not call: did you mean on_batch_end?"),
        (named("on_batch_begin", "b", "l"), "has on_batch_begin, which fit does not call: it calls on_train_begin,"),
        (named("on_test_end", "l"), "has on_test_end, which fit does not call: it calls on_train_begin"),
        (named("on_epochs_end", "e", "l"), "has on_epochs_end, which fit does not call: did you mean on_epoch_end?"),
    ],
)
@pytest.mark.parametrize("several", [True, False])
def test_is_refused_before_the_run(trainer, callback, text, several):
    with pytest.raises(TypeError, match=text) as refusal:
        trainer.fit(X, Y, callbacks=[Callback(), callback] if several else callback)
    assert "\n" not in str(refusal.value)
    assert trainer.plan is None


def test_other_methods_are_no_matter(trainer):
    trainer.fit(X, Y, callbacks=named("on_click", "event"))


@pytest.mark.parametrize("name", ["EarlyStopping", "ModelCheckpoint", "LearningRateScheduler", "LambdaCallback"])
def test_callbacks_of_keras(trainer, name):
    base = type("Callback", (), {"__module__": "keras.src.callbacks.callback"})
    with pytest.raises(TypeError, match=f"callback {name} is one of Keras's: "):
        trainer.fit(X, Y, callbacks=[type(name, (base,), {"__module__": "keras.src.callbacks.other"})()])
    with pytest.raises(TypeError, match=r"callback Mine is one of Keras's: derive .* whose methods have the names of Keras's"):
        trainer.fit(X, Y, callbacks=[type("Mine", (base,), {})()])


class Fails(Callback):
    def __init__(self, *hooks):
        for hook in hooks:
            setattr(self, hook, lambda *arguments, hook=hook: self.fail(hook))

    def fail(self, hook):
        raise RuntimeError(hook)


def test_an_error_as_the_run_begins_leaves_all_as_it_was(trainer):
    trainer.fit(X, Y, epochs=2)
    plan, history = trainer.plan, trainer.history
    with pytest.raises(RuntimeError, match="on_train_begin"):
        trainer.fit(X, Y, callbacks=[Fails("on_train_begin")])
    assert trainer.plan is plan
    assert trainer.history == history
    assert trainer.state.step == 6


def test_the_first_error_is_the_one_that_is_raised(trainer):
    recorder = Recorder()
    with pytest.warns(RuntimeWarning, match=r"on_train_end of callback Fails failed, too: RuntimeError\('on_train_end'\)"):
        with pytest.raises(RuntimeError, match="on_epoch_end"):
            trainer.fit(X, Y, epochs=2, callbacks=[Fails("on_train_end", "on_epoch_end"), recorder])
    assert recorder.seen[-1] == ("on_train_end", {"failed": 1})
    assert len(trainer.history.epoch) == 1


def test_an_error_at_the_end_alone_is_raised(trainer):
    recorder = Recorder()
    with pytest.raises(RuntimeError, match="on_train_end"):
        trainer.fit(X, Y, epochs=2, callbacks=[Fails("on_train_end"), recorder])
    assert recorder.seen[-1] == ("on_train_end", {"failed": 0})
    assert len(trainer.history.epoch) == 2


def test_history_survives_an_interrupt(trainer):
    assert trainer.history.epoch == []

    class Interrupts(Callback):
        def on_batch_end(self, step, logs):
            if step == 8:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trainer.fit(X, Y, epochs=4, callbacks=[Interrupts()], steps_per_call=1)
    assert trainer.history.epoch == [0, 1]
    assert trainer.history.history["loss"] == list(trainer.plan.history["loss"])
    assert repr(trainer.history).startswith("History(2 epochs: loss ")
    assert "8 steps taken" in repr(trainer)
