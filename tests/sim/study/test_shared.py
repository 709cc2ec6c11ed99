"""One image of a data set in memory: other processes map it, and nothing of it stays."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import zlib

import numpy as np
import pytest

from bnnedge import Dataset, Dense, Network, data
from bnnedge.samples import training_samples
from bnnedge.sim.study import Run
from bnnedge.sim.study.shared import Sharing
from bnnedge.sim.study.training import carry_out


def test_another_process_finds_the_same():
    digits = data.load("digits")
    with Sharing() as sharing:
        shared = sharing.share(digits)
        program = (
            "import pickle, sys, zlib\n"
            "images = pickle.load(sys.stdin.buffer).images()\n"
            "print(images.name, images.classes, *(f'{a.dtype} {a.shape} {zlib.crc32(a)}' for a in images[:4]), sep='|')"
        )
        found = subprocess.run([sys.executable, "-c", program], input=pickle.dumps(shared), capture_output=True, check=True)
    arrays = (digits.x_train, digits.y_train, digits.x_test, digits.y_test)
    wanted = ["digits", "10", *(f"{a.dtype} {a.shape} {zlib.crc32(a)}" for a in arrays)]
    assert found.stdout.decode().strip().split("|") == wanted


def test_what_is_mapped_cannot_be_changed_and_outlives_its_owner():
    with Sharing() as sharing:
        images = sharing.share(data.load("digits")).images()
    with pytest.raises(ValueError, match="read-only"):
        images.x_train[0] = 0
    assert np.array_equal(images.x_train, data.load("digits").x_train)


def test_nothing_stays_open():
    before = os.listdir("/proc/self/fd")
    with Sharing() as sharing:
        shared = sharing.share(data.load("digits"))
        sharing.share(data.load("digits"))
        assert len(os.listdir("/proc/self/fd")) == len(before) + 2
    assert os.listdir("/proc/self/fd") == before
    with pytest.raises(OSError, match="No such file"):
        shared.images()


def test_odd_sizes():
    x = np.arange(3 * 5 * 7, dtype=np.uint8).reshape(3, 5, 7) + 100
    dataset = Dataset("odd", x, [0, 1, 2], x[:1], [2])
    with Sharing() as sharing:
        images = sharing.share(dataset).images()
    assert np.array_equal(images.x_train, dataset.x_train)
    assert np.array_equal(images.y_test, dataset.y_test)
    assert images.classes == 3


def test_a_trainer_makes_no_copy():
    network = Network((8, 8), [Dense(10)])
    with Sharing() as sharing:
        images = sharing.share(data.load("digits")).images()
        test = images.x_test, images.y_test
        samples, validation, _ = training_samples(network, images.x_train, images.y_train, test)
    assert np.shares_memory(samples.images, images.x_train)
    assert validation is not None
    assert np.shares_memory(validation.images, images.x_test)


@pytest.mark.parametrize("model", ["integer", "standard", "tanh"])
def test_a_run_trains_on_what_is_mapped_and_loads_it_where_it_is_not(model):
    run = Run("a", model, "digits", "digits", 1, 64, 0.01, config="sim-small", samples=256, holdout=64)
    with Sharing() as sharing:
        shared = sharing.share(data.load("digits"))
        mapped = carry_out(run, shared=shared)
    gone = carry_out(run, shared=shared)
    assert mapped.curve == gone.curve == carry_out(run).curve
