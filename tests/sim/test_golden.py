"""The golden model against docs/arithmetic.md, written down once more in plain Python integers."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest

from bnnedge import Configuration, Conv2D, Dense, Flatten, MaxPool2D, Network, Settings
from bnnedge.formats import Kind
from bnnedge.sim.golden import Golden, Random, model
from bnnedge.state import TrainingState

EXP2 = [round(4096 * 2 ** (-i / 256)) for i in range(256)]
LOG2 = [round(256 * math.log2(1 + i / 256)) for i in range(256)]
CONFIG = Configuration("tiny", lanes=4, word=16)
RATE = 9000


def clip(value: int, low: int, high: int) -> int:
    return max(low, min(high, value))


def random16(seed: int, lanes: int, step: int, layer: int, kind: int, place: int, row: int, column: int) -> int:
    """The 16 random bits of one element."""
    x = layer << 26 | kind << 24 | (column // lanes) << 12 | row // lanes
    y = step ^ place << 20
    for i in range(8):
        x = ((x >> 8 | x << 24) + y & 0xFFFFFFFF) ^ (seed >> 32 * (i % 2) & 0xFFFFFFFF) ^ i
        y = (y << 3 | y >> 29) & 0xFFFFFFFF ^ x
    state, mask = y << 32 | x, 2**64 - 1
    for _ in range(row % lanes):
        state ^= state << 13 & mask
        state ^= state >> 7
        state ^= state << 17 & mask
    return (state | state << 64) >> 4 * (column % lanes) & 0xFFFF


def mean(v: int, n: int, fraction: int) -> int:
    """v / n with so many fraction bits."""
    log = math.ceil(math.log2(n))
    return v * ((2 ** (16 + log) + n // 2) // n) >> 16 + log - fraction


def averaged(moving: int, new: int, most: int, step: int) -> int:
    """A moving average after it took its part of a new value."""
    d = min(most, step // 4)
    return moving + (new - moving + (2**d >> 1) >> d)


class Window:
    """One layer of weights: which input, seen through which tap, contributes to which output."""

    def __init__(self, layer: Conv2D | Dense, pool: str, height: int, width: int, channels: int, first: bool) -> None:
        self.pool, self.channels = pool, channels
        self.pixels = first and isinstance(layer, Conv2D)
        if isinstance(layer, Dense):
            self.fan_out, self.high, self.wide = layer.units, 1, 1
            kernel_y, self.kernel_x, stride, top, left = height, width, 1, 0, 0
        else:
            self.fan_out, stride, kernel_y, self.kernel_x = layer.filters, layer.stride, layer.kernel, layer.kernel
            if layer.padding == "same":
                self.high, self.wide = math.ceil(height / stride), math.ceil(width / stride)
                top = max(0, (self.high - 1) * stride + kernel_y - height) // 2
                left = max(0, (self.wide - 1) * stride + kernel_y - width) // 2
            else:
                top = left = 0
                self.high, self.wide = (height - kernel_y) // stride + 1, (width - kernel_y) // stride + 1
        # (output, input, tap): places (y, x) of maps and window.
        self.links = [
            ((oy, ox), (oy * stride + y - top, ox * stride + x - left), (y, x))
            for oy, ox, y, x in itertools.product(*map(range, (self.high, self.wide, kernel_y, self.kernel_x)))
            if 0 <= oy * stride + y - top < height and 0 <= ox * stride + x - left < width
        ]
        self.outputs = list(itertools.product(range(self.high), range(self.wide)))

    def row(self, tap: tuple[int, int], channel: int) -> int:
        """Row of the weight matrix."""
        return (tap[0] * self.kernel_x + tap[1]) * self.channels + channel

    def four(self, y: int, x: int) -> list[tuple[int, int]]:
        """The outputs that are pooled to (y, x)."""
        return [(2 * y, 2 * x), (2 * y, 2 * x + 1), (2 * y + 1, 2 * x), (2 * y + 1, 2 * x + 1)]


Map = dict[tuple[int, int], list[int]]  # values of the channels at (y, x)


class Plain:
    """One training step, element by element."""

    def __init__(self, network: Network, settings: Settings, state: TrainingState) -> None:
        self.s, self.state = settings, state
        self.shape = (*network.input_shape, 1)[:3] if isinstance(network.layers[0], Conv2D) else (1, 1, *network.input_shape)
        height, width, channels = self.shape
        self.windows: list[Window] = []
        self.planes: list[int] = []
        for layer, behind in zip(network.layers, (*network.layers[1:], None), strict=True):
            if isinstance(layer, (Conv2D, Dense)):
                pool = behind.on if isinstance(behind, MaxPool2D) else ""
                window = Window(layer, pool, height, width, channels, not self.windows)
                height, width, channels = window.high, window.wide, window.fan_out
                g = settings.gradient_planes
                self.planes.append(g if isinstance(g, int) else g[len(self.planes)])
                if pool:
                    height, width = height // 2, width // 2
                self.windows.append(window)

    def updated(self, word: int, positive: bool, r: int, rate: int) -> int:
        k, w = (word & 63 ^ 32) - 32, word >> 6
        t = 31 if positive else -32
        k = t if self.s.optimiser == "sign-sgd" else k + (t - k + r % 8 >> 3)
        w = clip(w - ((2 * k + 1) * rate + (r >> 4) >> 12), -512, 511)
        return w << 6 | k & 63

    def codes(self, pixels: np.ndarray, planes: int) -> list[Map]:
        _, width, channels = self.shape
        flat = [[2 * (int(p) >> 8 - planes) - (2**planes - 1) for p in image.ravel()] for image in pixels]
        places = list(itertools.product(range(self.shape[0]), range(width)))
        return [{p: image[(p[0] * width + p[1]) * channels :][:channels] for p in places} for image in flat]

    def sums(self, i: int, x: list[Map]) -> tuple[list[Map], list[Map]]:
        """Sums y of layer i, pooled if sums are, and then the routes."""
        window, found, routes = self.windows[i], [], []
        w = [[1 if v >= 0 else -1 for v in row] for row in self.state.layers[i].weight.tolist()]
        for image in x:
            y = {place: [0] * window.fan_out for place in window.outputs}
            for output, source, tap in window.links:
                for c, value in enumerate(image[source]):
                    row = w[window.row(tap, c)]
                    y[output] = [a + value * b for a, b in zip(y[output], row, strict=True)]
            route: Map = {}
            if window.pool == "sums":
                pooled: Map = {}
                for p in itertools.product(range(window.high // 2), range(window.wide // 2)):
                    fours = [[y[q][m] for q in window.four(*p)] for m in range(window.fan_out)]
                    pooled[p] = [max(four) for four in fours]
                    route[p] = [four.index(max(four)) for four in fours]
                y = pooled
            found.append(y)
            routes.append(route)
        return found, routes

    def pooled_signs(self, i: int, active: Map) -> tuple[Map, Map]:
        """Signs pooled to the first that is +1, and its place, 0 if there is none."""
        window, pooled, route = self.windows[i], {}, {}
        for p in itertools.product(range(window.high // 2), range(window.wide // 2)):
            fours = [[active[q][m] for q in window.four(*p)] for m in range(window.fan_out)]
            pooled[p] = [max(four) for four in fours]
            route[p] = [four.index(max(four)) for four in fours]
        return pooled, route

    def logits(self, y: list[int], mus: list[int], psis: list[int]) -> tuple[list[int], list[int]]:
        """z and v of an image."""
        z, v = [], []
        for value, mu, psi, beta in zip(y, mus, psis, self.state.layers[-1].beta.tolist(), strict=True):
            r = (1477 << 20) // max(psi, 64)
            z.append(clip((64 * value - mu) * r + 2**21 >> 22, -8191, 8191))
            v.append(z[-1] + ((beta >> 8) * 1477 >> 11))
        return z, v

    def thresholds(self, i: int) -> list[tuple[int, int]]:
        """tau and psi of each channel."""
        layer = self.state.layers[i]
        channels = zip(layer.mu.tolist(), layer.psi.tolist(), layer.beta.tolist(), strict=True)
        return [(mu - ((beta >> 8) * psi >> 9), psi) for mu, psi, beta in channels]

    def infer(self, pixels: np.ndarray) -> list[list[int]]:
        x = self.codes(pixels, self.s.input_planes)
        for i in range(len(self.windows) - 1):
            y, _ = self.sums(i, x)
            tau = [t for t, _ in self.thresholds(i)]
            x = [{p: [1 if 64 * v >= t else -1 for v, t in zip(y, tau, strict=True)] for p, y in image.items()} for image in y]
            if self.windows[i].pool == "signs":
                x = [self.pooled_signs(i, image)[0] for image in x]
        last = self.state.layers[-1]
        y, _ = self.sums(len(self.windows) - 1, x)
        return [self.logits(image[0, 0], last.mu.tolist(), last.psi.tolist())[1] for image in y]

    def statistics(self, i: int, y: list[Map], rate: int) -> tuple[list[int], list[int]]:
        """mu and psi of the batch; the moving averages take their part."""
        layer, step, mus, psis = self.state.layers[i], self.state.step, [], []
        most = 3 if rate >= 128 else 4 if rate >= 64 else 5 if rate >= 32 else 6
        for m in range(self.windows[i].fan_out):
            column = [row[m] for image in y for row in image.values()]
            pivot = int(layer.mu[m]) + 32 >> 6
            mus.append(mean(sum(column), len(column), 6))
            psis.append(mean(sum(abs(v - pivot) for v in column), len(column), 6))
            layer.mu[m] = averaged(int(layer.mu[m]), mus[m], most, step)
            layer.psi[m] = averaged(int(layer.psi[m]), psis[m], most, step)
        return mus, psis

    def learn(self, i: int, m: int, s: int, along: int, rate: int) -> None:
        """Mean gradient, its size and beta of a channel, with s of this step and, in the last layer, the slope."""
        layer, step = self.state.layers[i], self.state.step
        centre = clip(averaged(int(layer.centre[m]), s, 3, step), -(2**27), 2**27 - 1)
        if i < len(self.windows) - 1:
            size = averaged(int(layer.size[m]), abs(s) * 1024, 10, step)
            bits = (size // 1024).bit_length()
        else:
            size = clip(averaged(int(layer.size[m]), along * 1024, 3, step), -(2**39), 2**39 - 1)
            bits = 16
        quotient = clip(centre * 256 // 2**bits, -2048, 2047)
        layer.centre[m], layer.size[m] = centre, size
        layer.beta[m] = clip(int(layer.beta[m]) - (rate * quotient + 64) // 128, -(2**19), 2**19 - 1)

    def step(self, pixels: np.ndarray, labels: list[int], rate: int) -> tuple[int, int]:
        s, step = self.s, self.state.step
        images, depth = range(s.batch), len(self.windows)
        x = self.codes(pixels, s.input_planes)
        inputs = [self.codes(pixels, s.slope_planes)]
        routes, masks = [], []  # of each hidden layer's pooled map
        for i, window in enumerate(self.windows):
            y, route = self.sums(i, x)
            if i < depth - 1:
                channels = self.thresholds(i)
                sign, mask = [], []
                for image in y:
                    pairs = {p: list(zip(row, channels, strict=True)) for p, row in image.items()}
                    sign.append({p: [1 if 64 * v >= tau else -1 for v, (tau, _) in row] for p, row in pairs.items()})
                    mask.append({p: [int(abs(64 * v - tau) <= psi) for v, (tau, psi) in row] for p, row in pairs.items()})
                x = sign
                if window.pool == "signs":
                    x = []
                    for b in images:
                        pooled, route[b] = self.pooled_signs(i, sign[b])
                        x.append(pooled)
                        mask[b] = {p: [mask[b][window.four(*p)[k]][m] for m, k in enumerate(route[b][p])] for p in pooled}
                masks.append(mask)
                inputs.append(x)
            routes.append(route)
            mus, psis = self.statistics(i, y, rate)

        loss = hits = 0
        d, along = [], [0] * self.windows[-1].fan_out
        slopes = [clip(int(q) + 2**17 >> 18, -4095, 4095) for q in self.state.layers[-1].size]
        for b in images:
            z, v = self.logits(y[b][0, 0], mus, psis)
            below = [max(v) - value for value in v]
            total = sum(EXP2[n % 256] >> min(n >> 8, 15) for n in below)
            octave = total.bit_length() - 13
            logs = [n + 256 * octave + LOG2[(total >> octave + 4) % 256] for n in below]
            p = [EXP2[n % 256] >> min(n >> 8, 15) for n in logs]
            raw = [value - 4096 * (c == labels[b]) for c, value in enumerate(p)]
            along = [total + g * x for total, g, x in zip(along, raw, z, strict=True)]
            d.append({(0, 0): [g - (q if x >= 0 else -q) for g, x, q in zip(raw, z, slopes, strict=True)]})
            loss += logs[labels[b]]
            hits += v.index(max(v)) == labels[b]

        codes: list[Map] = []
        above = 0
        old = [layer.weight.tolist() for layer in self.state.layers]
        for i in range(depth - 1, -1, -1):
            layer, window = self.state.layers[i], self.windows[i]
            if i < depth - 1:
                upper = self.windows[i + 1]
                d = [{p: [0] * window.fan_out for p in masks[i][b]} for b in images]
                for b in images:
                    for output, source, tap in upper.links:
                        for c in range(window.fan_out):
                            row = old[i + 1][upper.row(tap, c)]
                            d[b][source][c] += sum(
                                code if w >= 0 else -code for code, w in zip(codes[b][output], row, strict=True)
                            )
                    for p, row in masks[i][b].items():
                        d[b][p] = [value * bit for value, bit in zip(d[b][p], row, strict=True)]
            if window.pool == "signs":
                wide = [{p: [0] * window.fan_out for p in window.outputs} for _ in images]
                for b in images:
                    for p, row in routes[i][b].items():
                        for m, k in enumerate(row):
                            wide[b][window.four(*p)[k]][m] = d[b][p][m]
                d = wide
            dy: list[Map] = [{p: [0] * window.fan_out for p in image} for image in d]
            n, shift = s.batch * len(d[0]), clip(layer.unit - above, -8, 7)
            for m in range(window.fan_out):
                everywhere = [(b, p) for b in images for p in d[b]]
                layer.centre[m] = clip(math.floor(Fraction(2) ** shift * int(layer.centre[m])), -(2**27), 2**27 - 1)
                if i < depth - 1:
                    layer.size[m] = clip(math.floor(Fraction(2) ** shift * int(layer.size[m])), 0, 2**40 - 1)
                of_batch = mean(sum(d[b][p][m] for b, p in everywhere), n, 8)
                centre = int(layer.centre[m]) if len(window.outputs) > 1 else clip(of_batch, -(2**27), 2**27 - 1)
                for b, p in everywhere:
                    dy[b][p][m] = 4 * d[b][p][m] - (centre + 32 >> 6)
                slope_of_logit = mean(along[m] * 710 >> 18, n, 8) if i == depth - 1 else 0
                self.learn(i, m, of_batch, slope_of_logit, rate)
            layer.unit = above
            twin = window.pool != ""
            g = max(2, self.planes[i]) if twin else self.planes[i]
            e = clip(layer.exponent - above, 0, 16)
            reach, sizes = 2 ** (g - twin), list[int]()

            def code(value: int, r16: int, e: int = e, g: int = g, twin: bool = twin, sizes: list[int] = sizes) -> int:
                r = r16 * 2 ** (e + 1) // 2**16
                u = (value + r) // 2**e - 1
                sizes.append(u if u >= 0 else -1 - u)
                if twin:
                    return 2 * clip((value + r) // 2 ** (e + 1), -(2 ** (g - 2)), 2 ** (g - 2))
                return 2 * clip((value - 2**e + r) // 2 ** (e + 1), -(2 ** (g - 1)), 2 ** (g - 1) - 1) + 1

            codes = [{p: [0] * window.fan_out for p in window.outputs} for _ in images]
            for b, (y_out, x_out), m in itertools.product(images, window.outputs, range(window.fan_out)):
                r16 = random16(s.seed, 4, step, i, 0, y_out * window.wide + x_out, b, m)
                if window.pool == "sums":
                    p = y_out // 2, x_out // 2
                    if routes[i][b][p][m] == y_out % 2 * 2 + x_out % 2:
                        codes[b][y_out, x_out][m] = code(dy[b][p][m], r16)
                else:
                    codes[b][y_out, x_out][m] = code(dy[b][y_out, x_out][m], r16)
            # Of the gradients that come, one in 4 reach, and in 16 at least, may be beyond the range of codes.
            most = len(images) * len(window.outputs) // (4 if twin else 1) * window.fan_out // max(4 * reach, 16)
            layer.exponent = above + e
            if sum(size >= reach for size in sizes) > most:
                layer.exponent += 1
            elif sum(size >= reach // 2 for size in sizes) <= most // 2:
                layer.exponent -= 1
            above += e

            slope = [[0] * window.fan_out for _ in old[i]]
            for b in images:
                for output, source, tap in window.links:
                    for c, value in enumerate(inputs[i][b][source]):
                        k = window.row(tap, c)
                        slope[k] = [a + value * v for a, v in zip(slope[k], codes[b][output], strict=True)]
            scale = max(0, int(math.log2(len(slope))) // 2 - 2)
            for k, row in enumerate(slope):
                per_place = window.channels * (window.kernel_x if window.pixels else 1)
                for m, value in enumerate(row):
                    r = random16(s.seed, 4, step, i, 1, k // per_place, k % per_place, m)
                    layer.weight[k, m] = self.updated(old[i][k][m], value >= 0, r, rate * 2 ** (scale + 10) // 4096)
        self.state.step += 1
        return loss, hits


def dense(*sizes: int) -> Network:
    return Network(sizes[:1], [Dense(n) for n in sizes[1:]])


CASES = [
    (dense(9, 6, 5, 3), Settings(batch=64, gradient_planes=8, seed=0x0123_4567_89AB_CDEF)),
    (dense(5, 7, 2), Settings(batch=64, gradient_planes=4, input_planes=5, slope_planes=3, optimiser="sign-sgd")),
    (dense(11, 4), Settings(batch=112, gradient_planes=1, seed=2)),
    # Signs pooled; a window of even side that reaches over the edge; 24 and 6 outputs.
    (
        Network((6, 8, 2), [Conv2D(3), MaxPool2D(), Conv2D(5, 2, padding="same"), Flatten(), Dense(4), Dense(3)]),
        Settings(batch=48, gradient_planes=[6, 8, 7, 8], seed=5),
    ),
    # Steps of 2 over an odd and an even side, sums pooled.
    (
        Network((12, 3), [Conv2D(3, 3, 2, "same"), Conv2D(5, 3, 1, "same"), MaxPool2D("sums"), Dense(3)]),
        Settings(batch=16, gradient_planes=4, input_planes=3, slope_planes=3),
    ),
    # Sums of pixels pooled, then signs, both odd before; steps of 2 without padding.
    (
        Network((9, 7, 3), [Conv2D(5, 2), MaxPool2D("sums"), Conv2D(6, 2, 1, "same"), Conv2D(2, 1, 2), Dense(4)]),
        Settings(batch=64, gradient_planes=5, optimiser="sign-sgd", seed=2**40 + 9),
    ),
    (
        Network((5, 5), [Conv2D(2, 2), MaxPool2D("signs"), Conv2D(3, 1), MaxPool2D("sums"), Dense(2)]),
        Settings(batch=80, gradient_planes=1, seed=3),
    ),
]


@pytest.mark.parametrize(("network", "settings"), CASES)
def test_steps_are_those_of_the_document(network: Network, settings: Settings) -> None:
    state = TrainingState.initial(network, CONFIG.latent, settings.gradient_planes, 7)
    golden, plain = Golden(network, settings, CONFIG, state.copy()), Plain(network, settings, state.copy())
    random = np.random.RandomState(3)
    for step, rate in ((0, RATE), (1, RATE), (5, RATE), (30, 127), (31, 31)):  # the averages' decay: 0, 0, 1, 4, 6
        golden.state.step = plain.state.step = step
        pixels = random.randint(0, 256, (settings.batch, *network.input_shape)).astype(np.uint8)
        labels = random.randint(0, network.classes, settings.batch)
        result = golden.train(pixels, labels, rate)
        assert (result.loss, result.hits) == plain.step(pixels, labels.tolist(), rate)
        assert golden.state.differences(plain.state) == []
    assert golden.infer(pixels).tolist() == plain.infer(pixels)


@pytest.mark.parametrize("lanes", [4, 8, 16])
def test_random_numbers_do_not_depend_on_the_shape_around_them(lanes: int) -> None:
    drawn = Random(12345, lanes).draw(77, 3, Kind.WEIGHT, (3, 37, 41))
    for place, row, column in [(0, 0, 0), (2, 36, 40), (1, lanes, lanes - 1), (2, 5, 33)]:
        assert drawn[place, row, column] == random16(12345, lanes, 77, 3, Kind.WEIGHT, place, row, column)
    np.testing.assert_array_equal(Random(12345, lanes).draw(77, 3, Kind.WEIGHT, (2, 20, 20)), drawn[:2, :20, :20])


def test_random_numbers_are_even_and_uncorrelated_between_neighbours_and_steps() -> None:
    a, b = (Random(1, 16).draw(step, 0, Kind.CODE, (1, 256, 256))[0].astype(float) / 65536 for step in (5, 6))
    assert abs(a.mean() - 0.5) < 0.005
    assert np.bincount((a * 16).astype(int).ravel(), minlength=16).std() < 5 * math.sqrt(a.size / 16)
    for other in (b, np.roll(a, 1, 0), np.roll(a, 16, 1), np.roll(a, 16, 0)):
        assert abs(np.corrcoef(a.ravel(), other.ravel())[0, 1]) < 0.02


def test_intermediates_are_kept_by_name() -> None:
    network = Network((6,), [Dense(5), Dense(3)])
    settings = Settings(batch=64)
    golden = Golden(network, settings, CONFIG, TrainingState.initial(network, 10, 8, 1), keep=True)
    golden.train(np.zeros((64, 6), np.uint8), np.zeros(64, int), 100)
    names = {"1.y", "1.mu", "1.psi", "1.tau", "1.active", "1.mask", "1.d", "1.s1", "1.dy", "1.code", "1.slope", "2.logits"}
    assert names <= set(golden.trace)
    assert golden.trace["1.mask"].shape == (64, 5)


def test_intermediates_of_convolutions() -> None:
    layers = [Conv2D(2), MaxPool2D(), Conv2D(3, padding="same"), MaxPool2D("sums"), Conv2D(4, 2), Dense(3)]
    network, settings = Network((10, 10), layers), Settings(batch=64)
    golden = Golden(network, settings, CONFIG, TrainingState.initial(network, 10, 8, 1), keep=True)
    golden.train(np.random.RandomState(1).randint(0, 256, (64, 10, 10)).astype(np.uint8), np.zeros(64, int), 100)
    shapes = {
        "1.active": (4, 4, 2), "1.route": (4, 4, 2), "1.mask": (4, 4, 2), "1.d": (4, 4, 2),
        "1.dy": (8, 8, 2), "1.code": (8, 8, 2),
        "2.active": (2, 2, 3), "2.route": (2, 2, 3), "2.mask": (2, 2, 3), "2.dy": (2, 2, 3), "2.code": (4, 4, 3),
        "3.active": (1, 1, 4), "3.code": (1, 1, 4), "4.code": (3,), "4.y": (3,), "4.logits": (3,),
    }  # fmt: skip
    for name, shape in shapes.items():
        assert golden.trace[name].shape == (64, *shape), name
    kinds = {"active": bool, "mask": bool, "route": np.uint8, "code": np.int16}
    for name, kind in kinds.items():
        assert all(golden.trace[full].dtype == kind for full in golden.trace if full.endswith(name))
    assert set(np.unique(golden.trace["2.route"])) == {0, 1, 2, 3}
    assert not {"3.route", "4.active", "4.mask", "4.tau"} & set(golden.trace)


def test_inference_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    network = Network((6, 6), [Conv2D(3), MaxPool2D(), Dense(4)])
    golden = Golden(network, Settings(batch=64), CONFIG, TrainingState.initial(network, 10, 8, 1))
    pixels = np.random.RandomState(1).randint(0, 256, (100, 6, 6)).astype(np.uint8)
    golden.train(pixels[:64], np.zeros(64, int), 100)
    whole = golden.infer(pixels)
    assert whole.shape == (100, 4)
    monkeypatch.setattr(model, "_INFERENCE", 7 * 4 * 4 * 3)
    np.testing.assert_array_equal(golden.infer(pixels), whole)
