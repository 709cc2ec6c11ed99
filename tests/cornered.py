"""Small random networks in states at the corners of their ranges, and a device's steps against the second opinion."""

from __future__ import annotations

import dataclasses
import random

import numpy as np
from opinion import Opinion

from bnnedge import Configuration, Conv2D, Dense, Device, MaxPool2D, Network, Settings, TrainingState
from bnnedge.devices.golden import GoldenDevice


@dataclasses.dataclass
class Case:
    configuration: Configuration
    network: Network
    settings: Settings
    state: TrainingState
    images: np.ndarray
    labels: np.ndarray
    rates: list[int]


def network_of(draw: random.Random) -> Network:
    """A small network; most of them are convolutional. Whatever fits is taken."""
    while True:
        hidden = [Dense(draw.randint(1, 20)) for _ in range(draw.randint(0, 2))]
        shape: tuple[int, ...] = (draw.randint(2, 7), draw.randint(2, 7))
        layers: list = []
        if draw.random() < 0.7:
            shape = (*shape, draw.randint(1, 4))
            for _ in range(draw.randint(1, 2)):
                padding = draw.choice(["valid", "same"])
                layers.append(Conv2D(draw.randint(1, 9), draw.randint(1, 4), draw.randint(1, 2), padding))
                if draw.random() < 0.7:
                    layers.append(MaxPool2D(draw.choice(["signs", "sums"])))
        else:
            shape = draw.choice([shape, (draw.randint(1, 40),)])
        try:
            return Network(shape, [*layers, *hidden, Dense(draw.randint(2, 11))])
        except ValueError:
            continue  # a window or a map that does not fit


def largest_mu(layer: int, K: int, accumulator: int) -> int:
    """Persistent state: what a moving mean may be."""
    D = min(K if layer else 255 * K, 2 ** (accumulator - 1) - 32)
    return 64 * (D + D // 2**17 + 1)


def state_of(draw: random.Random, network: Network, settings: Settings, configuration: Configuration) -> TrainingState:
    """A state, entries of which are at the corners of their ranges, near them, or anywhere."""
    random_state = np.random.RandomState(draw.getrandbits(32))
    state = TrainingState.initial(network, configuration.latent, settings.gradient_planes, draw.getrandbits(32))

    def fill(array: np.ndarray, low: int, high: int) -> None:
        corners = [low, low + 1, -1, 0, 1, high - 1, high]
        chosen = random_state.choice([v for v in corners if low <= v <= high], array.shape)
        array[...] = np.where(
            random_state.rand(*array.shape) < 0.5, chosen, random_state.randint(low, high + 1, array.shape, np.int64)
        )

    top = 1 << configuration.latent - 1 + 6
    for i, (layer, geometry) in enumerate(zip(state.layers, network.geometry, strict=True)):
        if draw.random() < 0.5:
            fill(layer.weight, -top, top - 1)
        if draw.random() < 0.5:
            fill(layer.beta, -(2**19), 2**19 - 1)
        if draw.random() < 0.5:
            fill(layer.centre, -(2**27), 2**27 - 1)
        if draw.random() < 0.5:
            if i < len(state.layers) - 1:
                fill(layer.size, 0, draw.choice([0, 1, 1023, 1025, 2**20, 2**40 - 1]))
            else:
                most = draw.choice([2**17, 2**30, 2**39])
                fill(layer.size, -most, most - 1)
        bound = largest_mu(i, geometry.fan_in, configuration.accumulator)
        if draw.random() < 0.5:
            fill(layer.mu, -bound, bound)
            fill(layer.psi, 0, draw.choice([2 * bound, 2**28 - 1]))
        if draw.random() < 0.3:
            layer.exponent = draw.choice([-(2**15), -1, 0, 15, 16, 17, 2**15 - 1])
        if draw.random() < 0.5 and i < len(state.layers) - 1:
            layer.unit = draw.choice([-(2**15), -9, -8, -7, -1, 0, 1, 6, 7, 8, draw.randint(0, 40), 2**15 - 1])
    state.step = draw.choice([0, 3, 7, 11, 12, 23, 39, draw.getrandbits(31), 2**32 - 4])
    state.check(network, configuration)
    return state


def case_of(seed: int, configuration: Configuration | None = None) -> Case:
    """The case of a seed; planes, and latent and accumulator unless they are given, go through all their values as seeds do."""
    draw = random.Random(seed)
    latent, accumulator, lanes = 4 + seed // 7 % 7, 16 + seed % 7, draw.choice([4, 8, 16])
    configuration = configuration or Configuration("opinion", lanes=lanes, word=16, latent=latent, accumulator=accumulator)
    input_planes = 1 + 3 * seed % 8
    while True:
        settings = Settings(
            batch=draw.choice([16, 16, 48, 64, 64, 80, 128, 240, 512]),
            gradient_planes=1 + seed // 3 % 8,
            input_planes=input_planes,
            slope_planes=draw.choice([1, input_planes, input_planes, draw.randint(1, input_planes)]),
            optimiser=draw.choice(["sign-momentum", "sign-momentum", "sign-sgd"]),
            seed=draw.choice([0, 1, 2**64 - 1, draw.getrandbits(64)]),
        )
        network = network_of(draw) if settings.batch < 200 else Network((5,), [Dense(6), Dense(3)])  # loops are slow
        several = tuple(draw.choice([8, draw.randint(1, 8)]) for _ in network.geometry)
        settings = dataclasses.replace(settings, gradient_planes=draw.choice([settings.gradient_planes, several, "auto"]))
        try:
            GoldenDevice(configuration).prepare(network, settings)
            break
        except ValueError:
            continue  # sums that this accumulator can't hold
    pixels = np.random.RandomState(seed)
    images = pixels.randint(0, 256, (settings.batch + 5, *network.input_shape), np.uint8)
    if draw.random() < 0.3:
        images[draw.randint(0, 1) :] = draw.choice([images[1:2], 0, 255])  # channels without a spread, or with one outlier
    labels = pixels.randint(0, network.classes, len(images))
    # Of the largest layer: S is half the logarithm of its inputs, less 2.
    scale = max(0, (max(layer.fan_in for layer in network.geometry).bit_length() - 1) // 2 - 2)
    most = 2**16 - 1 >> max(0, scale + configuration.latent - 12)
    rates = [draw.choice([1, most, draw.randint(1, most), draw.randint(1, 999)]) for _ in range(3)]
    return Case(configuration, network, settings, state_of(draw, network, settings, configuration), images, labels, rates)


def compare(case: Case, device: Device) -> None:
    """Inference, steps one by one, inference: everything that the device tells is as the opinion has it."""
    device.prepare(case.network, case.settings)
    device.load_state(case.state)
    opinion = Opinion(case.network, case.settings, case.configuration.latent, case.configuration.lanes, case.state)
    compare_logits(case, device, opinion)
    for number, rate in enumerate(case.rates):
        order = np.random.RandomState(number).permutation(len(case.images))[: case.settings.batch]
        result, tensors = device.probe(case.images, case.labels, order, rate)
        chosen = case.images[order].reshape(len(order), -1)
        loss, hits, ours = opinion.step(chosen.tolist(), case.labels[order].tolist(), rate)
        place = f"{case.network} {case.settings}, step {number}"
        assert (result.loss, result.hits) == (loss, hits), place
        assert {f"{i + 1}.code" for i in range(len(opinion.layers))} <= {name.removesuffix("_columns") for name in tensors}
        for name, tensor in tensors.items():
            theirs = tensor.reshape(len(order), -1, tensor.shape[-1])
            mine = np.array(list(dict(sorted(ours[name.removesuffix("_columns")].items())).values())).reshape(theirs.shape)
            np.testing.assert_array_equal(theirs, mine > 0 if theirs.dtype == bool else mine, f"{place}: {name}")
        state = device.state()
        assert state.step == opinion.count, place
        state.check(case.network, case.configuration)
        for i, (theirs, layer) in enumerate(zip(state.layers, opinion.layers, strict=True)):
            words = [[w << 6 | k & 63 for w, k in row] for row in layer.weight]
            held = {"weight": words, "beta": layer.beta, "mu": layer.mu, "psi": layer.psi, "centre": layer.m, "size": layer.v}
            for field, values in held.items():
                np.testing.assert_array_equal(getattr(theirs, field), values, f"{place}: {field} of layer {i + 1}")
            assert (theirs.exponent, theirs.unit) == (layer.E, layer.A), f"{place}: exponents of layer {i + 1}"
    compare_logits(case, device, opinion)


def compare_logits(case: Case, device: Device, opinion: Opinion) -> None:
    few = case.images[:9]
    np.testing.assert_array_equal(device.infer(few), opinion.infer(few.reshape(len(few), -1).tolist()), str(case.network))
