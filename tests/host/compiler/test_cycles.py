"""The estimate of cycles: what makes a step longer makes the estimate larger; tests/system holds it against the RTL."""

from __future__ import annotations

import dataclasses

import pytest

from bnnedge import Conv2D, Dense, MaxPool2D, Network, Settings, configuration, mlp
from bnnedge.compiler import cycles, estimate
from bnnedge.compiler.cycles import RESOURCES, WEIGHTS
from bnnedge.compiler.layout import layout
from bnnedge.compiler.program import unplaced
from bnnedge.isa import Opcode

CONFIG = configuration("sim-small")
NETWORK = Network((8, 8, 3), [Conv2D(16, padding="same"), MaxPool2D(), Conv2D(24), Dense(10)])
SETTINGS = Settings(batch=64, gradient_planes=4, input_planes=4)


@pytest.mark.parametrize(
    "more",
    [
        {"gradient_planes": 8},
        {"input_planes": 8},
        {"network": Network((8, 8, 3), [Conv2D(32, padding="same"), MaxPool2D(), Conv2D(24), Dense(10)])},
        {"network": Network((8, 8, 3), [Conv2D(16, padding="same"), MaxPool2D(), Conv2D(24), Dense(24), Dense(10)])},
        {"network": Network((12, 8, 3), [Conv2D(16, padding="same"), MaxPool2D(), Conv2D(24), Dense(10)])},
    ],
    ids=str,
)
def test_more_work_takes_longer(more: dict[str, int]) -> None:
    settings = {name: value for name, value in more.items() if name != "network"}
    longer = estimate(more.get("network", NETWORK), dataclasses.replace(SETTINGS, **settings), CONFIG)  # type: ignore[arg-type]
    assert longer.cycles_per_image > estimate(NETWORK, SETTINGS, CONFIG).cycles_per_image


def test_operations_add_up_and_say_what_bounds_them() -> None:
    found = estimate(NETWORK, SETTINGS, CONFIG)
    assert found.fits
    assert found.reasons == []
    total = sum(operation["cycles"] for operation in found.layers) / SETTINGS.batch
    assert total == pytest.approx(found.cycles_per_image, rel=0.1)
    names = [operation["pass"] for operation in found.layers]
    assert {f"weight gradient, layer {i}" for i in (1, 2, 3)} <= set(names)
    assert {operation["bound by"] for operation in found.layers} <= set(RESOURCES)
    assert found.images_per_second == pytest.approx(CONFIG.clock_hz / found.cycles_per_image)


def test_the_clock_scales_the_rate_alone() -> None:
    fast = estimate(NETWORK, SETTINGS, dataclasses.replace(CONFIG, clock_hz=2 * CONFIG.clock_hz))
    slow = estimate(NETWORK, SETTINGS, CONFIG)
    assert fast.cycles_per_image == slow.cycles_per_image
    assert fast.images_per_second == 2 * slow.images_per_second


def test_what_does_not_fit_has_a_reason() -> None:
    found = estimate(Network((64,), [Dense(200)]), Settings(), CONFIG)
    assert not found.fits
    assert "200 classes" in found.reasons[0]
    assert found.shares == {}
    assert found.bottleneck is None


@pytest.mark.parametrize(("planes", "resource"), [(2, WEIGHTS), (8, "engine")])
def test_the_bottleneck_is_the_resource_that_is_busy_longest(planes: int, resource: str) -> None:
    settings = Settings(batch=128, gradient_planes=planes)
    found = estimate(mlp(), settings, configuration("pynq-z2"))
    assert found.bottleneck == (resource, max(found.shares.values()))
    assert set(found.shares) == set(RESOURCES)
    assert all(0 <= share <= 1 for share in found.shares.values())
    step = found.cycles_per_image * settings.batch
    assert found.shares["engine"] * step == pytest.approx(sum(operation["engine"] for operation in found.layers), rel=1e-3)


def test_bytes_of_the_latent_weights_go_both_ways() -> None:
    found = estimate(mlp(), Settings(batch=128, gradient_planes=4), configuration("pynq-z2"))
    (update,) = [operation for operation in found.layers if operation["pass"] == "weight gradient, layer 4"]
    assert update["bytes"] == 2 * 256 * 256 * 2  # words of 16 bits
    assert update["bound by"] == WEIGHTS


def test_stores_take_cycles_of_the_engine() -> None:
    there = layout(NETWORK, SETTINGS, CONFIG)
    fields = next(i.fields for i in unplaced(there).instructions if i.opcode == Opcode.PASS)
    ends = []
    for lent, storing in ((0, 1e9), (5, 1e9), (1e9, 1e9), (1e9, 3), (1e9, 0)):
        model = cycles._Schedule(there)
        model.lent, model.storing = lent, storing
        model._pass(fields)
        ends.append(model.engine)
        assert model.lent == max(0, min(lent, storing) - model.held["engine"])
    assert ends[1] == ends[0] + 5
    assert ends[2] == ends[0] + model.held["engine"]  # at most every second cycle
    assert ends[3:] == [ends[0] + 3, ends[0]]  # as long as they store


def test_streams_share_the_memory() -> None:
    model = cycles._Schedule(layout(NETWORK, SETTINGS, CONFIG))
    assert model._moving(0, 70, 0) == 70
    assert model._moving(0, 70, 1) == 80  # reads and writes
    model.updates = (0, 10)
    assert model._moving(9, 70, 0) == 120  # and weights both ways
