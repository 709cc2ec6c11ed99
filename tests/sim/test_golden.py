"""The golden model against docs/arithmetic.md, written down once more in plain Python integers."""

from __future__ import annotations

import math

import numpy as np
import pytest

from bnnedge import Configuration, Dense, Network, Settings
from bnnedge.formats import Kind
from bnnedge.sim.golden import Golden, Random
from bnnedge.state import TrainingState

EXP2 = [round(4096 * 2 ** (-i / 256)) for i in range(256)]
LOG2 = [round(256 * math.log2(1 + i / 256)) for i in range(256)]
CONFIG = Configuration("tiny", lanes=4, word=16)


def clip(value: int, low: int, high: int) -> int:
    return max(low, min(high, value))


def random16(seed: int, lanes: int, step: int, layer: int, kind: int, row: int, column: int) -> int:
    """The 16 random bits of one element."""
    x = layer << 26 | kind << 24 | (column // lanes) << 12 | row // lanes
    y = step
    for i in range(8):
        x = ((x >> 8 | x << 24) + y & 0xFFFFFFFF) ^ (seed >> 32 * (i % 2) & 0xFFFFFFFF) ^ i
        y = (y << 3 | y >> 29) & 0xFFFFFFFF ^ x
    state, mask = y << 32 | x, 2**64 - 1
    for _ in range(row % lanes):
        state ^= state << 13 & mask
        state ^= state >> 7
        state ^= state << 17 & mask
    return (state | state << 64) >> 4 * (column % lanes) & 0xFFFF


class Plain:
    """One training step, element by element."""

    def __init__(self, settings: Settings, state: TrainingState) -> None:
        self.s, self.state = settings, state

    def updated(self, word: int, positive: bool, r: int, rate: int) -> int:
        k, w = (word & 15 ^ 8) - 8, word >> 4
        t = 7 if positive else -8
        k = t if self.s.optimiser == "sign-sgd" else k + (t - k + r % 8 >> 3)
        w = clip(w - ((2 * k + 1) * rate + (r >> 8) >> 8), -2048, 2047)
        return w << 4 | k & 15

    def step(self, pixels: list[list[int]], labels: list[int], rate: int) -> tuple[int, int]:
        s, step, g = self.s, self.state.step, self.s.gradient_planes
        batch, log_b = s.batch, s.batch.bit_length() - 1
        x = [[2 * (p >> 8 - s.input_planes) - (2**s.input_planes - 1) for p in row] for row in pixels]
        slope_in = [[2 * (p >> 8 - s.slope_planes) - (2**s.slope_planes - 1) for p in row] for row in pixels]
        inputs, signs, masks = [slope_in], [], []
        for layer in self.state.layers:
            fan_in, fan_out = layer.weight.shape
            w = [[1 if int(v) >= 0 else -1 for v in row] for row in layer.weight]
            y = [[sum(x[b][k] * w[k][m] for k in range(fan_in)) for m in range(fan_out)] for b in range(batch)]
            sign = [[0] * fan_out for _ in range(batch)]
            mask = [[False] * fan_out for _ in range(batch)]
            mus, psis = [], []
            for m in range(fan_out):
                column = [y[b][m] for b in range(batch)]
                pivot = int(layer.mu[m]) + 32 >> 6
                mu = sum(column) >> log_b - 6
                psi = sum(abs(v - pivot) for v in column) >> log_b - 6
                d = min(3, step)
                layer.mu[m] += mu - int(layer.mu[m]) + (2**d >> 1) >> d
                layer.psi[m] += psi - int(layer.psi[m]) + (2**d >> 1) >> d
                tau = mu - ((int(layer.beta[m]) >> 4) * psi >> 11)
                for b in range(batch):
                    sign[b][m] = 1 if 64 * column[b] >= tau else -1
                    mask[b][m] = abs(64 * column[b] - tau) <= psi
                mus.append(mu)
                psis.append(psi)
            signs.append(sign)
            masks.append(mask)
            inputs.append(sign)
            x = sign

        last, classes = self.state.layers[-1], self.state.layers[-1].weight.shape[1]
        loss = hits = 0
        z = [[0] * classes for _ in range(batch)]
        d_out = [[0] * classes for _ in range(batch)]
        for b in range(batch):
            v = []
            for c in range(classes):
                r = (1477 << 20) // max(psis[c], 64)
                z[b][c] = clip((64 * y[b][c] - mus[c]) * r + 2**21 >> 22, -8191, 8191)
                v.append(z[b][c] + ((int(last.beta[c]) >> 4) * 1477 >> 13))
            below = [max(v) - value for value in v]
            total = sum(EXP2[n % 256] >> min(n >> 8, 15) for n in below)
            octave = total.bit_length() - 13
            logs = [n + 256 * octave + LOG2[(total >> octave + 4) % 256] for n in below]
            for c in range(classes):
                d_out[b][c] = (EXP2[logs[c] % 256] >> min(logs[c] >> 8, 15)) - 4096 * (c == labels[b])
            loss += logs[labels[b]]
            hits += v.index(max(v)) == labels[b]

        above, d, codes = 0, d_out, [[0]]
        old = [layer.weight.copy() for layer in self.state.layers]
        for i in range(len(self.state.layers) - 1, -1, -1):
            layer = self.state.layers[i]
            fan_in, fan_out = layer.weight.shape
            if i < len(self.state.layers) - 1:
                upper = old[i + 1]
                d = [
                    [
                        masks[i][b][m]
                        * sum(codes[b][n] * (1 if int(upper[m][n]) >= 0 else -1) for n in range(upper.shape[1]))
                        for m in range(fan_out)
                    ]
                    for b in range(batch)
                ]
            dy = [[0] * fan_out for _ in range(batch)]
            for m in range(fan_out):
                s1 = sum(d[b][m] for b in range(batch))
                s2 = sum(d[b][m] * signs[i][b][m] for b in range(batch))
                if i == len(self.state.layers) - 1:
                    s2 = sum(d[b][m] * z[b][m] for b in range(batch)) * 710 >> 18
                sx = sum(signs[i][b][m] for b in range(batch))
                c1 = ((s1 - (sx * s2 >> log_b)) * 4 + batch // 2) >> log_b
                c2 = (s2 * 4 + batch // 2) >> log_b
                for b in range(batch):
                    dy[b][m] = 4 * d[b][m] - c1 - signs[i][b][m] * c2
                r = random16(s.seed, 4, step, i, 2, 0, m)
                layer.beta[m] = self.updated(int(layer.beta[m]), s1 >= 0, r, rate >> 2)
            e = clip(layer.exponent - above, 0, 23)
            mean = sum(abs(v) for row in dy for v in row) // (batch * fan_out)
            headroom = 4 if g >= 6 else 3 if g >= 4 else 2
            layer.exponent = above + (mean.bit_length() - 1) + headroom + 1 - g
            above += e
            codes = [[0] * fan_out for _ in range(batch)]
            for b in range(batch):
                for m in range(fan_out):
                    r = random16(s.seed, 4, step, i, 0, b, m) * 2 ** (e + 1) // 2**16
                    codes[b][m] = 2 * clip(dy[b][m] - 2**e + r >> e + 1, -(2 ** (g - 1)), 2 ** (g - 1) - 1) + 1
            for k in range(fan_in):
                for m in range(fan_out):
                    slope = sum(inputs[i][b][k] * codes[b][m] for b in range(batch))
                    r = random16(s.seed, 4, step, i, 1, k, m)
                    layer.weight[k, m] = self.updated(int(layer.weight[k, m]), slope >= 0, r, rate)
        self.state.step += 1
        return loss, hits


@pytest.mark.parametrize(
    ("sizes", "settings"),
    [
        ([9, 6, 5, 3], Settings(batch=64, seed=0x0123_4567_89AB_CDEF)),
        ([5, 7, 2], Settings(batch=64, gradient_planes=4, input_planes=5, slope_planes=3, optimiser="sign-sgd")),
        ([11, 4], Settings(batch=128, gradient_planes=1, seed=2)),
    ],
)
def test_steps_are_those_of_the_document(sizes: list[int], settings: Settings) -> None:
    network = Network((sizes[0],), [Dense(n) for n in sizes[1:]])
    state = TrainingState.initial(network, CONFIG.latent, settings.gradient_planes, 7)
    golden, plain = Golden(network, settings, CONFIG, state.copy()), Plain(settings, state.copy())
    random = np.random.RandomState(3)
    for _ in range(5):
        pixels = random.randint(0, 256, (settings.batch, sizes[0])).astype(np.uint8)
        labels = random.randint(0, sizes[-1], settings.batch)
        result = golden.train(pixels, labels, 900)
        assert (result.loss, result.hits) == plain.step(pixels.tolist(), labels.tolist(), 900)
        assert golden.state.differences(plain.state) == []


@pytest.mark.parametrize("lanes", [4, 8, 16])
def test_random_numbers_do_not_depend_on_the_shape_around_them(lanes: int) -> None:
    drawn = Random(12345, lanes).draw(77, 3, Kind.WEIGHT, (37, 41))
    for row, column in [(0, 0), (36, 40), (lanes, lanes - 1), (5, 33)]:
        assert drawn[row, column] == random16(12345, lanes, 77, 3, Kind.WEIGHT, row, column)
    np.testing.assert_array_equal(Random(12345, lanes).draw(77, 3, Kind.WEIGHT, (20, 20)), drawn[:20, :20])


def test_random_numbers_are_even_and_uncorrelated_between_neighbours_and_steps() -> None:
    a, b = (Random(1, 16).draw(step, 0, Kind.CODE, (256, 256)).astype(float) / 65536 for step in (5, 6))
    assert abs(a.mean() - 0.5) < 0.005
    assert np.bincount((a * 16).astype(int).ravel(), minlength=16).std() < 5 * math.sqrt(a.size / 16)
    for other in (b, np.roll(a, 1, 0), np.roll(a, 16, 1), np.roll(a, 16, 0)):
        assert abs(np.corrcoef(a.ravel(), other.ravel())[0, 1]) < 0.02


def test_intermediates_are_kept_by_name() -> None:
    network = Network((6,), [Dense(5), Dense(3)])
    settings = Settings(batch=64)
    golden = Golden(network, settings, CONFIG, TrainingState.initial(network, 12, 8, 1), keep=True)
    golden.train(np.zeros((64, 6), np.uint8), np.zeros(64, int), 100)
    names = {"1.y", "1.mu", "1.psi", "1.tau", "1.active", "1.mask", "1.d", "1.dy", "1.code", "1.slope", "2.logits"}
    assert names <= set(golden.trace)
    assert golden.trace["1.mask"].shape == (64, 5)
