"""Devices that several trainers and threads use, and closed ones: nobody trains on, or reads, what is another's."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bnnedge import Callback, Dense, Device, DeviceError, Network, Settings, Trainer, configuration, open_device
from bnnedge.devices.golden import GoldenDevice
from bnnedge.state import TrainingState

CONFIG = configuration("sim-small")
NETWORK = Network((4, 4), [Dense(24), Dense(4)], "one")
SETTINGS = Settings(batch=64, seed=3)
RANDOM = np.random.RandomState(4)
X, Y = RANDOM.randint(0, 256, (200, 4, 4)).astype(np.uint8), RANDOM.randint(0, 4, 200)
OTHERS = {
    "the same": (NETWORK, SETTINGS),
    "other settings": (NETWORK, Settings(batch=64, seed=9, gradient_planes=3, optimiser="sign-sgd")),
    "another batch": (NETWORK, Settings(batch=128, seed=3)),
    "another network": (Network((4, 4), [Dense(40), Dense(20), Dense(5)], "two"), SETTINGS),
}


class Other(GoldenDevice):
    """A device that can be checked: the golden model itself cannot."""

    name = "other"

    def __init__(self) -> None:
        super().__init__(CONFIG)


@pytest.fixture(params=["golden", "other", "rtl"])
def device(request: pytest.FixtureRequest) -> Iterator[Device]:
    """One of each kind, to share."""
    device = Other() if request.param == "other" else open_device(request.param, CONFIG)
    yield device
    device.close()


def by_turns(one: Trainer, two: Trainer, folder: Path) -> list[Any]:
    """What two trainers find as they take turns, with all that can be done in between."""
    found: list[Any] = [one.evaluate(X, Y), two.evaluate(X, Y)]
    found += [one.fit(X, Y, steps=2), two.fit(X, Y, steps=3, validation_data=(X, Y))]
    found += [one.evaluate(X, Y), two.evaluate(X, Y), one.predict(X[:7]).tolist(), two.predict(X[:7]).tolist()]
    found.append(one.fit(X, Y, steps=5, resume=True, steps_per_call=2))
    two.save(folder / "two.npz")
    found += [two.fit(X, Y, epochs=2, steps_per_call=1), one.evaluate(X, Y), two.evaluate(X, Y)]
    one.measure(X, Y, 2)
    two.measure(X, Y, 2)
    found += [one.evaluate(X, Y), two.fit(X, Y, epochs=3, resume=True), one.fit(X, Y), one.memory(), two.memory()]
    with Trainer.load(folder / "two.npz", two.device) as again:
        found += [again.fit(X, Y, steps=6, resume=True), one.evaluate(X, Y), two.evaluate(X, Y), again.evaluate(X, Y)]
    return found


@pytest.mark.parametrize(("other", "check"), [*((other, "first") for other in OTHERS), ("another network", "all")])
def test_trainers_take_turns(device: Device, other: str, check: str, tmp_path: Path) -> None:
    level = "first" if device.name == "golden" else check
    pairs = (NETWORK, SETTINGS), OTHERS[other]
    one, two = (Trainer(network, device, settings=settings, check=level) for network, settings in pairs)
    alone = [Trainer(network, "golden", configuration=CONFIG, settings=settings) for network, settings in pairs]
    assert by_turns(one, two, tmp_path) == by_turns(*alone, tmp_path)
    for trainer, expected in zip((one, two), alone, strict=True):
        assert trainer.state.differences(expected.state) == []
        assert trainer.bit_exact is (None if device.name == "golden" else True)


def test_one_who_calls_the_device_itself_is_noticed(device: Device) -> None:
    trainer, alone = Trainer(NETWORK, device, settings=SETTINGS), Trainer(NETWORK, settings=SETTINGS)
    network, settings = OTHERS["another network"]

    def meddle() -> None:
        device.load_state(TrainingState.initial(NETWORK, CONFIG.latent, 8, 77))

    def meddle_more() -> None:
        device.prepare(network, settings)
        device.load_state(TrainingState.initial(network, CONFIG.latent, 8, 77))
        device.train(X, Y, np.arange(64), 100)

    for act in (meddle, lambda: device.train(X, Y, np.arange(64), 100), lambda: device.prepare(NETWORK, SETTINGS), meddle_more):
        for user in (trainer, alone):
            user.fit(X, Y, steps=3)
        act()
        assert trainer.evaluate(X, Y) == alone.evaluate(X, Y)
        act()
        for user in (trainer, alone):
            user.fit(X, Y, steps=3, steps_per_call=1)
        assert trainer.state.differences(alone.state) == []


class Gate(Callback):
    """Holds a training up after its second step."""

    def __init__(self) -> None:
        self.reached, self.open = threading.Event(), threading.Event()

    def on_batch_end(self, step: int, logs: Mapping[str, float]) -> None:
        if step == 2:
            self.reached.set()
            assert self.open.wait(60)


class Slow(GoldenDevice):
    """Is held up within its second call."""

    name = "slow"

    def __init__(self, gate: Gate) -> None:
        super().__init__(CONFIG)
        self.gate, self.calls = gate, 0

    def train(self, *arguments: Any) -> Any:
        self.calls += 1
        if self.calls == 2:  # of a probe
            with self.claim():
                self.gate.on_batch_end(2, {})
        return super().train(*arguments)


@pytest.mark.parametrize("where", ["in a call of the device", "between two calls"])
def test_a_second_thread_is_refused_and_disturbs_nothing(where: str, tmp_path: Path) -> None:
    gate = Gate()
    within = where == "in a call of the device"
    device = Slow(gate) if within else Other()
    trainer, other = (Trainer(NETWORK, device, settings=SETTINGS, check=check) for check in ("first", "none"))
    errors: list[BaseException] = []

    def train() -> None:
        try:
            trainer.fit(X, Y, epochs=4, steps_per_call=1, callbacks=() if within else (gate,))
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=train)
    thread.start()
    assert gate.reached.wait(60)
    calls: list[Callable[[], object]] = [
        lambda: trainer.fit(X, Y),
        lambda: trainer.fit(X, Y, resume=True),
        lambda: trainer.evaluate(X, Y),
        lambda: trainer.predict(X),
        lambda: trainer.measure(X, Y),
        lambda: other.fit(X, Y),
        lambda: other.evaluate(X, Y),
        lambda: Trainer(NETWORK, device, settings=Settings(batch=128)),
        device.state,
        lambda: device.train(X, Y, np.arange(64), 1),
        lambda: device.load_state(trainer.state),
        device.close,
        trainer.close,
    ]
    for call in calls:
        with pytest.raises(DeviceError, match="is in use by another thread: wait until its call has ended, or open a device"):
            call()
    trainer.save(tmp_path / "meanwhile.npz")
    assert Trainer.load(tmp_path / "meanwhile.npz").state.step == (1 if within else 2)
    gate.open.set()
    thread.join(60)
    assert errors == []
    alone = Trainer(NETWORK, settings=SETTINGS)
    alone.fit(X, Y, epochs=4)
    assert trainer.state.differences(alone.state) == []
    assert trainer.evaluate(X, Y) == alone.evaluate(X, Y)
    other.fit(X, Y)


def test_a_callback_may_use_the_device_but_not_train_the_same_trainer(device: Device) -> None:
    trainer, other, alone = (Trainer(NETWORK, used, settings=SETTINGS, check="none") for used in (device, device, "golden"))

    class Meddler(Callback):
        def on_batch_end(self, step: int, logs: Mapping[str, float]) -> None:
            trainer.evaluate(X, Y)
            other.fit(X, Y, steps=1)
            with pytest.raises(DeviceError, match="this trainer is within fit already"):
                trainer.fit(X, Y)

    trainer.fit(X, Y, steps=4, steps_per_call=1, callbacks=[Meddler()])
    alone.fit(X, Y, steps=4)
    assert trainer.state.differences(alone.state) == []


def calls_of(device: Device) -> list[Callable[[], object]]:
    """Every call of a device."""
    state = TrainingState.initial(NETWORK, CONFIG.latent, 8, 1)
    return [
        lambda: device.prepare(NETWORK, SETTINGS),
        lambda: device.load_state(state),
        device.state,
        lambda: device.train(X, Y, np.arange(64), 100),
        lambda: device.probe(X, Y, np.arange(64), 100),
        lambda: device.infer(X),
        device.counters,
        device.memory,
    ]


def calls_of_trainer(trainer: Trainer) -> list[Callable[[], object]]:
    """Every call of a trainer that needs the device."""
    return [
        lambda: trainer.fit(X, Y),
        lambda: trainer.fit(X, Y, resume=True, epochs=9),
        lambda: trainer.evaluate(X, Y),
        lambda: trainer.predict(X),
        lambda: trainer.measure(X, Y),
        trainer.memory,
    ]


@pytest.mark.parametrize("name", ["golden", "rtl"])
@pytest.mark.parametrize("trained", [False, True])
def test_a_closed_trainer_says_so_and_can_be_saved(name: str, trained: bool, tmp_path: Path) -> None:
    trainer = Trainer(NETWORK, name, configuration=CONFIG, settings=SETTINGS)
    if trained:
        trainer.fit(X, Y)
    state = trainer.state
    trainer.close()
    trainer.close()
    for call in calls_of_trainer(trainer):
        with pytest.raises(DeviceError, match=r"this trainer is closed: save it, which still works, and go on"):
            call()
    for call in calls_of(trainer.device):
        with pytest.raises(DeviceError, match=f"device '{name}' is closed: open it again, and go on from a checkpoint"):
            call()
    trainer.save(tmp_path / "kept.npz")
    with Trainer.load(tmp_path / "kept.npz") as again:
        assert again.state.differences(state) == trainer.state.differences(state) == []
        again.fit(X, Y)


@pytest.mark.parametrize("name", ["golden", "rtl"])
def test_a_device_that_its_user_closes(name: str, tmp_path: Path) -> None:
    device = open_device(name, CONFIG)
    trainer = Trainer(NETWORK, device, settings=SETTINGS)
    trainer.fit(X, Y, steps=4)
    device.close()
    device.close()
    for call in [*calls_of_trainer(trainer), *calls_of(device)]:
        with pytest.raises(DeviceError, match=f"device '{name}' is closed: open it again"):
            call()
    trainer.save(tmp_path / "kept.npz")
    trainer.close()
    assert Trainer.load(tmp_path / "kept.npz").state.step == 4


def test_a_trainer_leaves_its_users_device_open() -> None:
    device = open_device("golden", CONFIG)
    with Trainer(NETWORK, device, settings=SETTINGS) as trainer:
        trainer.fit(X, Y)
    with pytest.raises(DeviceError, match="this trainer is closed"):
        trainer.evaluate(X, Y)
    assert device.state().differences(trainer.state) == []
    Trainer(NETWORK, device, settings=SETTINGS).fit(X, Y)


def test_a_device_closed_during_a_training_ends_it() -> None:
    device = Other()
    trainer = Trainer(NETWORK, device, settings=SETTINGS)

    class Closer(Callback):
        def on_batch_end(self, step: int, logs: Mapping[str, float]) -> None:
            if step == 3:
                device.close()

    with pytest.raises(DeviceError, match="device 'other' is closed"):
        trainer.fit(X, Y, epochs=4, steps_per_call=1, callbacks=[Closer()])
    assert trainer.state.step == 3


@pytest.mark.parametrize("name", ["golden", "rtl"])
def test_a_device_without_network_or_state_says_so(name: str) -> None:
    device = open_device(name, CONFIG)
    for call in calls_of(device)[1:6] + calls_of(device)[7:]:
        with pytest.raises(DeviceError, match=f"device '{name}' has no network: call prepare first"):
            call()
    device.prepare(NETWORK, SETTINGS)
    for call in calls_of(device)[2:6]:
        with pytest.raises(DeviceError, match=f"device '{name}' has no training state, .*: call load_state first"):
            call()
    with pytest.raises(ValueError, match="layer 1"):
        device.prepare(Network((64, 64), [Dense(20_000), Dense(3)]), SETTINGS)
    with pytest.raises(DeviceError, match="call prepare first"):
        device.infer(X)
    device.close()
