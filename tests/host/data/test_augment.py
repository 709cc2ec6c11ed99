"""Shifts and mirrored images: what they do to pixels, and that a run with them can stop and go on anywhere."""

import dataclasses
import json

import numpy as np
import pytest
from trainings import Stop

from bnnedge import DataError, Dense, Network, Settings, Trainer
from bnnedge.cli import main
from bnnedge.commands.train import augmentation
from bnnedge.configuration import configuration
from bnnedge.data.augment import Augment, Epochs
from bnnedge.devices.golden import GoldenDevice
from bnnedge.schedule import Plan

BOTH = Augment(shift=0.25, flip=True)
NETWORK = Network((4, 4), [Dense(32), Dense(4)], "tiny")
SETTINGS = Settings(batch=64, seed=3)
RANDOM = np.random.RandomState(7)
X, Y = RANDOM.randint(10, 256, (300, 4, 4)).astype(np.uint8), RANDOM.randint(0, 4, 300)
TEST = RANDOM.randint(0, 256, (90, 4, 4)).astype(np.uint8), RANDOM.randint(0, 4, 90)


def applied(augment, images, seed=1):
    out = np.full_like(images, 99)
    augment.apply(images, np.random.RandomState(seed), out)
    return out


def moved(image, down, right, mirror, low):
    """Pixel by pixel."""
    height, width = image.shape[:2]
    result = np.full_like(image, low)
    for y in range(height):
        for x in range(width):
            if 0 <= y - down < height and 0 <= x - right < width:
                column = x - right
                result[y, x] = image[y - down, width - 1 - column if mirror else column]
    return result


class TestApply:
    @pytest.mark.parametrize("shape", [(6, 9), (8, 4, 3)])
    @pytest.mark.parametrize("augment", [BOTH, Augment(shift=0.5), Augment(flip=True)], ids=str)
    def test_each_image(self, shape, augment):
        """Every image is one of those that a shift within the limits, and a mirror, can make of it; all kinds occur."""
        images = np.random.RandomState(3).randint(10, 256, (400, *shape)).astype(np.uint8)
        images[0].flat[0] = 7
        before = images.copy()
        out = applied(augment, images)
        assert out.dtype == np.uint8
        assert (images == before).all()
        down, right = (round(augment.shift * size) for size in shape[:2])
        mirrors = (False, True) if augment.flip else (False,)
        kinds = [(y, x, m) for y in range(-down, down + 1) for x in range(-right, right + 1) for m in mirrors]
        seen = set()
        for image, result in zip(images, out, strict=True):
            matching = [kind for kind in kinds if (moved(image, *kind, low=7) == result).all()]
            assert len(matching) == 1
            seen.add(matching[0])
        assert len(seen) > 0.9 * len(kinds)

    def test_sizes(self):
        """Sizes too small for a shift of one pixel stay; halves are rounded to the even number, as everywhere."""
        images = X[:, :, :2]
        assert (applied(Augment(shift=0.1), images) == images).all()

    def test_seed(self):
        assert (applied(BOTH, X) == applied(BOTH, X)).all()
        assert (applied(BOTH, X) != applied(BOTH, X, seed=2)).any()

    def test_pixels_are_pinned(self):
        """Every NumPy version and every machine draws the same."""
        images = np.arange(1, 97, dtype=np.uint8).reshape(6, 4, 4)
        out = applied(BOTH, images)
        assert out[:, 1].tolist() == [
            [7, 6, 5, 1],
            [25, 26, 27, 28],
            [42, 43, 44, 1],
            [53, 54, 55, 56],
            [71, 70, 69, 1],
            [1, 89, 90, 91],
        ]  # NumPy 1.26.4

    def test_read_only_input_with_odd_strides(self):
        turned = np.ascontiguousarray(X.transpose(0, 2, 1)).transpose(0, 2, 1)
        turned.flags.writeable = False
        out = np.empty(X.shape, np.uint8)
        BOTH.apply(turned, np.random.RandomState(1), out)
        assert (out == applied(BOTH, X)).all()


class TestAugment:
    @pytest.mark.parametrize("shift", [-0.1, 0.6, float("nan"), "0.1", True, None])
    def test_shift_out_of_range(self, shift):
        with pytest.raises(ValueError, match=r"^shift must be a share of the image's size in 0\.\.0\.5, not "):
            Augment(shift=shift)

    def test_other_flips(self):
        with pytest.raises(ValueError, match=r"^flip must be True or False, not 1$"):
            Augment(flip=1)

    def test_nothing(self):
        with pytest.raises(ValueError, match=r"^an augmentation must shift or flip"):
            Augment()

    def test_numpy_values_become_plain(self):
        augment = Augment(np.float32(0.25), np.bool_(True))
        assert augment == BOTH
        assert json.loads(json.dumps(dataclasses.asdict(augment))) == {"shift": 0.25, "flip": True}

    def test_text(self):
        assert str(BOTH) == "shifted by up to 25 % and mirrored at random"
        assert str(Augment(flip=True)) == "mirrored at random"

    @pytest.mark.parametrize("shape", [(16,), (2, 2, 2, 2)])
    def test_shapes(self, shape):
        with pytest.raises(DataError, match=r"^augment takes images of shape \(height, width\) or .*, not \(\d"):
            BOTH.check(shape)


class TestEpochs:
    def test_one_array_an_epoch(self):
        epochs = Epochs(X, BOTH)
        first = epochs.show(0, np.random.RandomState(1))
        assert (first == applied(BOTH, X)).all()
        assert epochs.show(0, np.random.RandomState(2)) is first
        second = epochs.show(1, np.random.RandomState(2))
        assert second is not first
        assert (second == applied(BOTH, X, seed=2)).all()
        assert second.base is first.base

    def test_without(self):
        epochs = Epochs(X, None)
        assert epochs.show(0, np.random.RandomState(1)) is epochs.show(1, np.random.RandomState(1)) is X


class Recorder(GoldenDevice):
    """Counts the images that a device would have to take up, keeping the last array as it does."""

    name = "recorder"

    def __init__(self):
        super().__init__(configuration("sim-small"))
        self.held, self.taken, self.inferred = None, [], []

    def train(self, images, labels, order, rate):
        if images is not self.held:
            self.held = images
            self.taken.append(images.copy())
        assert (images == self.taken[-1]).all()
        return super().train(images, labels, order, rate)

    def infer(self, images):
        self.inferred.append(images)
        return super().infer(images)


def assert_same(a, b):
    assert a.state.differences(b.state) == []


class TestFit:
    def test_epochs(self):
        device = Recorder()
        images = X.copy()
        trainer = Trainer(NETWORK, device, settings=SETTINGS)
        trainer.fit(images, Y, epochs=3, augment=BOTH, validation_data=TEST, steps_per_call=1)
        assert (images == X).all()
        assert len(device.taken) == 3
        assert all((a != b).any() for a, b in zip(device.taken, [X, *device.taken[:2]], strict=True))
        assert all((inferred == TEST[0]).all() for inferred in device.inferred)
        plan = dataclasses.replace(trainer.plan, step=4)
        out = np.empty_like(X)
        BOTH.apply(X, plan.variation(), out)
        assert (out == device.taken[1]).all()

    def test_check_compares_the_same_images(self):
        checked = Trainer(NETWORK, Recorder(), settings=SETTINGS, check=True)
        plain = Trainer(NETWORK, settings=SETTINGS)
        runs = [trainer.fit(X, Y, epochs=2, augment=BOTH, validation_data=TEST) for trainer in (checked, plain)]
        assert runs[0] == runs[1]
        assert checked.bit_exact is True

    def test_matters(self):
        trainers = [Trainer(NETWORK, settings=SETTINGS) for _ in range(3)]
        for trainer, augment in zip(trainers, (None, BOTH, Augment(flip=True)), strict=True):
            trainer.fit(X, Y, augment=augment)
        states = [trainer.state for trainer in trainers]
        assert states[0].differences(states[1])
        assert states[1].differences(states[2])

    def test_second_run_varies_otherwise(self):
        device = Recorder()
        trainer = Trainer(NETWORK, device, settings=SETTINGS)
        trainer.fit(X, Y, augment=BOTH)
        trainer.fit(X, Y, augment=BOTH)
        assert (device.taken[0] != device.taken[1]).any()

    def test_flat_images(self):
        trainer = Trainer(Network((16,), [Dense(32), Dense(4)]), settings=SETTINGS)
        with pytest.raises(DataError, match=r"augment takes images of shape .*, not \(16,\)"):
            trainer.fit(X.reshape(300, 16), Y, augment=BOTH)
        assert trainer.plan is None

    @pytest.mark.parametrize("step", [1, 4, 6, 8, 11])
    def test_interrupt_save_load_resume(self, tmp_path, step):
        whole, part = (Trainer(NETWORK, settings=SETTINGS) for _ in range(2))
        expected = whole.fit(X, Y, epochs=3, augment=BOTH, validation_data=TEST)
        with pytest.raises(KeyboardInterrupt):
            part.fit(X, Y, epochs=3, augment=BOTH, validation_data=TEST, callbacks=[Stop(step)], steps_per_call=1)
        part.save(tmp_path / "c.npz")
        loaded = Trainer.load(tmp_path / "c.npz")
        assert loaded.plan.augment == BOTH
        assert loaded.fit(X, Y, resume=True, validation_data=TEST) == expected
        assert part.fit(X, Y, resume=True, augment=BOTH, validation_data=TEST) == expected
        assert_same(loaded, whole)
        assert_same(part, whole)

    @pytest.mark.parametrize("began", [None, BOTH])
    def test_resume_with_another(self, began):
        trainer = Trainer(NETWORK, settings=SETTINGS)
        trainer.fit(X, Y, augment=began)
        with pytest.raises(ValueError, match=r"^the run to resume began with augment .*: give the same, or none$"):
            trainer.fit(X, Y, epochs=2, resume=True, augment=Augment(flip=True))


class TestCheckpoint:
    PLAN = Plan(samples=300, batch=64, digest=1, epochs=3, steps=12, start=0, seed=9, shuffle=True, rate=0.1, schedule="cosine")

    def test_round_trip(self):
        plan = dataclasses.replace(self.PLAN, augment=BOTH)
        assert plan.to_dict()["augment"] == {"shift": 0.25, "flip": True}
        assert Plan.from_dict(json.loads(json.dumps(plan.to_dict()))) == plan

    def test_plans_without_it_do_not_name_it(self):
        assert "augment" not in self.PLAN.to_dict()
        assert Plan.from_dict(self.PLAN.to_dict()) == self.PLAN
        Plan.from_dict({**self.PLAN.to_dict(), "augment": None})

    @pytest.mark.parametrize(
        ("augment", "message"),
        [
            ([], r"augment of the plan is \[\]"),
            ({"shift": 0.25}, "augment of the plan is"),
            ({"shift": 0.25, "flip": True, "turn": 1}, "augment of the plan is"),
            ({"shift": 2, "flip": True}, "shift must be a share"),
        ],
    )
    def test_damaged(self, augment, message):
        with pytest.raises(ValueError, match=message):
            Plan.from_dict({**self.PLAN.to_dict(), "augment": augment})


class TestCommand:
    @pytest.mark.parametrize(
        ("text", "augment"),
        [
            ("shift,flip", Augment(0.125, True)),
            ("flip,shift", Augment(0.125, True)),
            ("shift", Augment(0.125)),
            ("shift=0.3", Augment(0.3)),
            ("flip", Augment(flip=True)),
        ],
    )
    def test_option(self, text, augment):
        assert augmentation(text) == augment

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("", "must be shift, shift=SHARE, flip, or shift,flip, not ''"),
            ("turn", "must be shift, shift=SHARE, flip, or shift,flip, not 'turn'"),
            ("flip=1", "must be shift, shift=SHARE, flip, or shift,flip, not 'flip=1'"),
            ("shift,shift", "must be shift, shift=SHARE, flip, or shift,flip, not 'shift,shift'"),
            ("shift=far", "shift must be a share of the image's size, not 'far'"),
            ("shift=0.7", "shift must be a share of the image's size in 0..0.5, not 0.7"),
            ("shift=0", "an augmentation must shift or flip"),
        ],
    )
    def test_wrong_option(self, text, message, capsys):
        with pytest.raises(SystemExit):
            main(["train", "--augment", text])
        assert message in capsys.readouterr().err

    def test_run_and_resume(self, tmp_path, capsys):
        own = ["train", "--device", "golden", "--samples", "128", "--out", str(tmp_path)]
        assert main([*own, "--epochs", "1", "--augment", "shift"]) == 0
        heading = "360 test images; training images shifted by up to 12.5 % in each epoch\n"
        assert heading in capsys.readouterr().out
        resumed = [*own, "--resume", str(tmp_path / "checkpoint.npz"), "--epochs", "2"]
        assert main([*resumed, "--augment", "shift"]) == 1
        assert "--augment cannot change with --resume" in capsys.readouterr().err
        assert main(resumed) == 0
        assert heading in capsys.readouterr().out
        assert Trainer.load(tmp_path / "checkpoint.npz").plan.augment == Augment(0.125)
