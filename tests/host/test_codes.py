"""Codes of a network's gradients: numbers, lists, "auto", and pooled layers."""

import pytest

from bnnedge.codes import codes
from bnnedge.formats import Code
from bnnedge.network import Conv2D, Dense, MaxPool2D, Network, cnv, mlp
from bnnedge.settings import Settings

SMALL = Network((8, 8), [Conv2D(3), MaxPool2D(), Conv2D(4, 2), MaxPool2D("sums"), Dense(3)])


def of(network: Network, planes: object) -> list[tuple[int, bool]]:
    return [code[:2] for code in codes(network, Settings(gradient_planes=planes))]


def test_automatic():
    assert of(mlp(), "auto") == [(8, False)] * 5
    convolutions = [(6, False), (6, True), (6, False), (6, True), (6, False)]
    # The last convolution has one place, as dense layers have.
    assert of(cnv(), "auto") == [*convolutions, *[(8, False)] * 4]


def test_one_number():
    assert of(SMALL, 4) == [(4, True), (4, True), (4, False)]
    assert of(SMALL, 1) == [(2, True), (2, True), (1, False)]


def test_a_number_for_each_layer():
    assert of(SMALL, [1, 8, 3]) == [(2, True), (8, True), (3, False)]


@pytest.mark.parametrize(("planes", "shares"), [(8, [512, 256, 1024]), (6, [128, 64, 256]), (2, [16, 16, 16]), (1, [16, 16, 16])])
def test_clipped_codes(planes, shares):
    """One in 2 to the bits of a code, and two more, or four at least: twin planes have a bit less, and 2 planes at least."""
    asked = [code.clips(1 << 20) for code in codes(SMALL, Settings(gradient_planes=[planes, max(1, planes - 1), planes]))]
    assert asked == [(1 << 20) // share for share in shares]


@pytest.mark.parametrize("planes", [[4], [4, 4], [4] * 4])
def test_lists_of_another_length(planes):
    message = f"gradient_planes has {len(planes)} numbers?, but network 'network' has 3 layers with weights: give a number for"
    with pytest.raises(ValueError, match=message):
        of(SMALL, planes)


@pytest.mark.parametrize("twin", [False, True])
@pytest.mark.parametrize("planes", range(1, 9))
def test_ends_of_codes(planes, twin):
    if twin and planes == 1:
        return
    weights = [1, 1, 2, 4, 8, 16, 32, 64] if twin else [1, 2, 4, 8, 16, 32, 64, 128]
    assert Code(planes, twin).largest == sum(weights[:planes])
    assert 0 <= 2 ** Code(planes, twin).bits - Code(planes, twin).largest <= 1
