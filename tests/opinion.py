"""A second opinion on the golden model: the training step once more, in Python's integers and plain loops.

It is written from docs/arithmetic.md alone, without a look at the golden model or the RTL, and shares no line with them: the
description of a network is all that it takes from the package. Docstrings name the section of the page that a function follows;
numbers and names are the page's.

The maps that a layer sees are a flat list for each image, in the order (row, column, channel). Tensors of its outputs are
dictionaries with a key (image, pixel, channel), pixels counted row by row.
"""

import dataclasses
import itertools
import math

from bnnedge import Conv2D, Dense, MaxPool2D, Network, Settings, TrainingState

EXP2 = [round(2**12 * 2 ** (-i / 256)) for i in range(256)]  # Last layer and loss
LOG2 = [round(256 * math.log2(1 + i / 256)) for i in range(256)]
CODE, WEIGHT = 0, 1  # Random numbers: kinds
Tensor = dict[tuple[int, int, int], int]


def clip(value: int, low: int, high: int) -> int:
    return max(low, min(value, high))


def split(word: int) -> list[int]:
    """Persistent state: latent weight and moment of a word."""
    return [word >> 6, (word & 63) - (word & 32) * 2]


@dataclasses.dataclass
class Layer:
    """Notation: a layer of weights, and its state.

    reads: of each output pixel, the pairs (row of the weight matrix, entry of the input map) of taps that lie on the map.
    spots: of each row of the weight matrix, its place and its input there. fours: the output pixels that are pooled to one.
    g, twin: planes of its gradient's codes, and whether they are twin.
    """

    M: int
    inputs: int
    reads: list[list[tuple[int, int]]]
    spots: list[tuple[int, int]]
    pool: str
    fours: list[list[int]]
    T: int
    g: int
    weight: list[list[list[int]]] = dataclasses.field(default_factory=list)
    beta: list[int] = dataclasses.field(default_factory=list)
    mu: list[int] = dataclasses.field(default_factory=list)
    psi: list[int] = dataclasses.field(default_factory=list)
    m: list[int] = dataclasses.field(default_factory=list)
    v: list[int] = dataclasses.field(default_factory=list)
    E: int = 0
    A: int = 0

    @property
    def twin(self) -> bool:
        """Notation: codes with a zero, where outputs are pooled."""
        return self.pool != ""

    @property
    def b(self) -> int:
        """Backward, Exponent: the bits of a code."""
        return self.g - self.twin


def outputs(side: int, kernel: int, stride: int, padding: str) -> tuple[int, int]:
    """Notation: outputs along a side, and pixels that are missing before it."""
    if padding == "valid":
        return (side - kernel) // stride + 1, 0
    count = math.ceil(side / stride)
    return count, max(0, (count - 1) * stride + kernel - side) // 2


def layers_of(network: Network, planes: int | tuple[int, ...] | str) -> list[Layer]:
    """Notation: windows over maps, codes. Pooling: outputs of odd maps. Initial state: T. Random numbers: places."""
    pixels = isinstance(network.layers[0], Conv2D)
    H, W, C = (*network.input_shape, 1)[:3] if pixels else (1, 1, math.prod(network.input_shape))
    found: list[Layer] = []
    for unit, behind in zip(network.layers, (*network.layers[1:], None), strict=True):
        if isinstance(unit, Conv2D):
            ky, kx, stride, M = unit.kernel, unit.kernel, unit.stride, unit.filters
            rows, top = outputs(H, ky, stride, unit.padding)
            columns, left = outputs(W, kx, stride, unit.padding)
        elif isinstance(unit, Dense):
            ky, kx, stride, M, rows, columns, top, left = H, W, 1, unit.units, 1, 1, 0, 0
        else:
            continue
        pool = behind.on if isinstance(behind, MaxPool2D) else ""
        rows, columns = (rows - rows % 2, columns - columns % 2) if pool else (rows, columns)
        reads = []
        for oy, ox in ((oy, ox) for oy in range(rows) for ox in range(columns)):
            taps = [(y, x, oy * stride + y - top, ox * stride + x - left) for y in range(ky) for x in range(kx)]
            on_map = [((y * kx + x) * C, (row * W + col) * C) for y, x, row, col in taps if 0 <= row < H and 0 <= col < W]
            reads.append([(k + c, i + c) for k, i in on_map for c in range(C)])
        at_place = kx * C if pixels and not found else C
        spots = [divmod(row, at_place) for row in range(ky * kx * C)]
        first = [y * columns + x for y in range(0, rows, 2) for x in range(0, columns, 2)] if pool else []
        fours = [[o, o + 1, o + columns, o + columns + 1] for o in first]
        T = M * min(math.ceil(ky / stride), rows) * min(math.ceil(kx / stride), columns)
        g = planes if isinstance(planes, int) else (6 if rows * columns > 1 else 8) if planes == "auto" else planes[len(found)]
        found.append(Layer(M, H * W * C, reads, spots, pool, fours, T, max(2, g) if pool else g))
        H, W, C = (rows // 2, columns // 2, M) if pool else (rows, columns, M)
    return found


def initial_exponents(network: Network, planes: int | tuple[int, ...] | str) -> list[int]:
    """Persistent state, Initial state."""
    layers = layers_of(network, planes)
    growth = [math.ceil((layer.T - 1).bit_length() / 2) + 2 for layer in layers]
    return [12 + 2 + 1 - layer.b + sum(growth[i + 1 :]) for i, layer in enumerate(layers)]


def codes(image: list[int], planes: int) -> list[int]:
    """Notation: pixels of so many planes."""
    return [2 * (p >> 8 - planes) - (2**planes - 1) for p in image]


def forward(layer: Layer, batch: list[list[int]]) -> Tensor:
    """Forward: the sums y, before pooling."""
    sign = [[1 if w >= 0 else -1 for w, _ in row] for row in layer.weight]
    every = itertools.product(range(len(batch)), range(len(layer.reads)), range(layer.M))
    return {(b, o, m): sum(batch[b][i] * sign[k][m] for k, i in layer.reads[o]) for b, o, m in every}


def pool(layer: Layer, values: Tensor) -> tuple[Tensor, Tensor]:
    """Pooling: the largest of four values, and the first place where it stands."""
    largest, route = {}, {}
    B = len(values) // len(layer.reads) // layer.M
    for b, p, m in itertools.product(range(B), range(len(layer.fours)), range(layer.M)):
        of_four = [values[b, o, m] for o in layer.fours[p]]
        largest[b, p, m] = max(of_four)
        route[b, p, m] = of_four.index(largest[b, p, m])
    return largest, route


def softmax(v: list[int], label: int) -> tuple[list[int], int, int]:
    """Last layer and loss: d of each class, loss and hit of an image."""
    below = [max(v) - c for c in v]
    total = sum(EXP2[b % 256] >> min(b >> 8, 15) for b in below)
    n = total.bit_length() - 1 - 12
    f = (total >> n + 4) % 256
    losses = [b + 256 * n + LOG2[f] for b in below]
    p = [EXP2[loss % 256] >> min(loss >> 8, 15) for loss in losses]
    return [p[c] - 4096 * (c == label) for c in range(len(v))], losses[label], int(label == v.index(max(v)))


def data_gradient(layer: Layer, code: Tensor, B: int) -> list[list[int]]:
    """Backward: the sum over M and all windows that an input stands in."""
    gradient = [[0] * layer.inputs for _ in range(B)]
    for (b, o, m), value in code.items():
        for k, i in layer.reads[o]:
            gradient[b][i] += value if layer.weight[k][m][0] >= 0 else -value
    return gradient


def flat(tensor: Tensor, B: int) -> list[list[int]]:
    """A map for each image, as the next layer sees it; entries were made in its order."""
    maps: list[list[int]] = [[] for _ in range(B)]
    for (b, _, _), value in tensor.items():
        maps[b].append(value)
    return maps


def mean(total: int, n: int, f: int) -> int:
    """Notation: the mean of n values with f fraction bits, by a reciprocal."""
    L = (n - 1).bit_length()
    return total * ((2 ** (16 + L + 1) + n) // (2 * n)) >> 16 + L - f


class Opinion:
    """A network in training, on an accelerator of `latent` bits a weight and `lanes` lanes."""

    def __init__(self, network: Network, settings: Settings, latent: int, lanes: int, state: TrainingState) -> None:
        self.settings, self.latent, self.lanes, self.count = settings, latent, lanes, state.step
        self.layers = layers_of(network, settings.gradient_planes)
        for layer, given in zip(self.layers, state.layers, strict=True):
            layer.weight = [[split(word) for word in row] for row in given.weight.tolist()]
            layer.beta, layer.mu, layer.psi = given.beta.tolist(), given.mu.tolist(), given.psi.tolist()
            layer.m, layer.v, layer.E, layer.A = given.centre.tolist(), given.size.tolist(), given.exponent, given.unit

    def random(self, layer: int, kind: int, place: int, row: int, column: int) -> int:
        """Random numbers: the 16 bits of one element of a tensor."""
        (tile, j), (group, lane) = divmod(row, self.lanes), divmod(column, self.lanes)
        key, low = (self.settings.seed % 2**32, self.settings.seed >> 32), 2**32 - 1
        x, y = layer << 26 | kind << 24 | group << 12 | tile, self.count ^ place << 20
        for i in range(8):
            x = ((x >> 8 | x << 24) + y & low) ^ key[i % 2] ^ i
            y = ((y << 3 | y >> 29) & low) ^ x
        s = y << 32 | x
        for _ in range(j):
            s ^= s << 13 & 2**64 - 1
            s ^= s >> 7
            s ^= s << 17 & 2**64 - 1
        return (s << 64 | s) >> 4 * lane & 2**16 - 1

    def average(self, moving: int, new: int, most: int) -> int:
        """Moving averages."""
        d = min(most, self.count // 4)
        return moving + ((new - moving + (2**d >> 1)) >> d)

    def activate(self, layer: Layer, y: Tensor) -> tuple[Tensor, Tensor]:
        """Forward: x' and mask."""
        tau = [mu - ((beta >> 8) * psi >> 9) for mu, beta, psi in zip(layer.mu, layer.beta, layer.psi, strict=True)]
        sign = {at: 1 if 64 * v >= tau[at[2]] else -1 for at, v in y.items()}
        return sign, {at: int(abs(64 * v - tau[at[2]]) <= layer.psi[at[2]]) for at, v in y.items()}

    def logits(self, layer: Layer, y: Tensor, mu: list[int], psi: list[int]) -> tuple[Tensor, list[list[int]]]:
        """Last layer and loss: z, and v of each image."""
        r = [(1477 << 20) // max(p, 64) for p in psi]
        z = {at: clip(((64 * value - mu[at[2]]) * r[at[2]] + 2**21) >> 22, -8191, 8191) for at, value in y.items()}
        v = {at: value + ((layer.beta[at[2]] >> 8) * 1477 >> 11) for at, value in z.items()}
        return z, flat(v, len(y) // layer.M)

    def infer(self, images: list[list[int]]) -> list[list[int]]:
        """Forward, Inference: the logits of each image."""
        batch = [codes(image, self.settings.input_planes) for image in images]
        for layer in self.layers[:-1]:
            y = forward(layer, batch)
            seen, _ = self.activate(layer, pool(layer, y)[0] if layer.pool == "sums" else y)
            batch = flat(pool(layer, seen)[0] if layer.pool == "signs" else seen, len(images))
        last = self.layers[-1]
        return self.logits(last, forward(last, batch), last.mu, last.psi)[1]

    def step(self, images: list[list[int]], labels: list[int], rate: int) -> tuple[int, int, dict[str, Tensor]]:
        """One step: loss, hits, and each layer's tensors by the names of `Device.probe`."""
        B, kept = len(images), []
        batch = [codes(image, self.settings.input_planes) for image in images]
        for layer in self.layers:
            y, route = forward(layer, batch), {}
            if layer.pool == "sums":
                y, route = pool(layer, y)
            seen, mask = self.activate(layer, y)
            if layer.pool == "signs":
                seen, route = pool(layer, seen)
                mask = {(b, p, m): mask[b, layer.fours[p][q], m] for (b, p, m), q in route.items()}
            kept.append((batch, {"active": seen, "mask": mask, "route": route}))
            batch = flat(seen, B)
            of_batch = self.statistics(layer, y, rate)
        z, v = self.logits(layer, y, *of_batch)
        ends = [softmax(v[b], labels[b]) for b in range(B)]
        d0 = {(b, 0, m): value for b, (of_image, _, _) in enumerate(ends) for m, value in enumerate(of_image)}
        c2 = [clip((q + 2**17) >> 18, -4095, 4095) for q in layer.v]
        d = {at: value - (c2[at[2]] if z[at] >= 0 else -c2[at[2]]) for at, value in d0.items()}
        s2 = [sum(d0[at] * z[at] for at in d0 if at[2] == m) * 710 >> 18 for m in range(layer.M)]
        above = 0
        for i, layer in reversed(list(enumerate(self.layers))):
            batch, tensors = kept[i]
            along = s2 if layer is self.layers[-1] else None
            tensors["code"], above = self.backward(i, d, tensors["route"], above, rate, along)
            if i:
                gradient = data_gradient(layer, tensors["code"], B)
                mask = kept[i - 1][1]["mask"]
                d = {(b, p, m): on * gradient[b][p * self.layers[i - 1].M + m] for (b, p, m), on in mask.items()}
            else:
                batch = [codes(image, self.settings.slope_planes) for image in images]
            self.update(i, batch, tensors["code"], rate)
        self.count += 1
        named = {f"{i + 1}.{name}": tensor for i, (_, held) in enumerate(kept) for name, tensor in held.items()}
        return sum(loss for _, loss, _ in ends), sum(hit for _, _, hit in ends), named

    def statistics(self, layer: Layer, y: Tensor, rate: int) -> tuple[list[int], list[int]]:
        """Forward: mu and psi of the batch; the moving ones take their part of them."""
        n, mu, psi = len(y) // layer.M, [], []
        most = 3 + sum(rate < 2**bits for bits in (7, 6, 5))
        for c in range(layer.M):
            of_channel = [value for at, value in y.items() if at[2] == c]
            pivot = (layer.mu[c] + 32) >> 6
            mu.append(mean(sum(of_channel), n, 6))
            psi.append(mean(sum(abs(value - pivot) for value in of_channel), n, 6))
            layer.mu[c], layer.psi[c] = self.average(layer.mu[c], mu[c], most), self.average(layer.psi[c], psi[c], most)
        return mu, psi

    def backward(self, i: int, d: Tensor, route: Tensor, above: int, rate: int, s2: list[int] | None) -> tuple[Tensor, int]:
        """Backward: codes of layer i, and the next `above`; beta, m, v or q, E and A move. s2: of the last layer."""
        layer, B, pixels = self.layers[i], self.settings.batch, len(self.layers[i].reads)
        routed = {(b, layer.fours[p][q], m): (b, p, m) for (b, p, m), q in route.items()}
        everywhere = list(itertools.product(range(B), range(pixels), range(layer.M)))
        clips = len(d) >> max(layer.b + 2, 4)
        if layer.pool == "signs":
            d = {at: d[routed[at]] if at in routed else 0 for at in everywhere}
        shift, n = clip(layer.A - above, -8, 7), len(d) // layer.M
        layer.m = [clip(math.floor(m * 2.0**shift), -(2**27), 2**27 - 1) for m in layer.m]
        if s2 is None:
            layer.v = [clip(math.floor(v * 2.0**shift), 0, 2**40 - 1) for v in layer.v]
        s = [mean(sum(value for at, value in d.items() if at[2] == c), n, 8) for c in range(layer.M)]
        c1 = [(clip(m, -(2**27), 2**27 - 1) + 32) >> 6 for m in (s if pixels == 1 else layer.m)]
        dy = {at: 4 * value - c1[at[2]] for at, value in d.items()}
        e, b = clip(layer.E - above, 0, 16), layer.b
        if layer.pool == "sums":
            dy = {at: dy[routed[at]] if at in routed else 0 for at in everywhere}
        code, clipped, large = {}, 0, 0
        for at in everywhere:
            r = self.random(i, CODE, at[1], at[0], at[2]) * 2 ** (e + 1) >> 16
            v = (dy[at] - 2**e + r) >> e
            clipped += not -(2**b) <= v < 2**b
            large += not -(2 ** (b - 1)) <= v < 2 ** (b - 1)
            if layer.twin:
                u = clip(v, -(2**b), 2**b - 1) + 2**b
                code[at] = 2 * (u >> 1) + 2 * (u % 2) - 2**b
            else:
                code[at] = 2 * clip(v >> 1, -(2 ** (b - 1)), 2 ** (b - 1) - 1) + 1
        layer.E = above + e + (1 if clipped > clips else -1 if large <= clips // 2 else 0)
        for c in range(layer.M):
            layer.m[c] = clip(self.average(layer.m[c], s[c], 3), -(2**27), 2**27 - 1)
            if s2 is None:
                layer.v[c] = self.average(layer.v[c], abs(s[c]) * 2**10, 10)
                k = (layer.v[c] >> 10).bit_length()
            else:
                layer.v[c] = clip(self.average(layer.v[c], mean(s2[c], n, 8) * 2**10, 3), -(2**39), 2**39 - 1)
                k = 16
            step = clip(layer.m[c] * 2**8 >> k, -(2**11), 2**11 - 1)
            layer.beta[c] = clip(layer.beta[c] - ((rate * step + 2**6) >> 7), -(2**19), 2**19 - 1)
        layer.A = above
        return code, above + e

    def update(self, i: int, batch: list[list[int]], code: Tensor, rate: int) -> None:
        """Update: the weights of layer i."""
        layer = self.layers[i]
        log = len(layer.weight).bit_length() - 1
        of_layer = rate * 2 ** (max(0, log // 2 - 2) + self.latent) >> 12
        slope = [[0] * layer.M for _ in layer.weight]
        for (b, o, m), value in code.items():
            for k, entry in layer.reads[o]:
                slope[k][m] += batch[b][entry] * value
        for row, (place, entry), of_row in zip(layer.weight, layer.spots, slope, strict=True):
            for m in range(layer.M):
                self.move(row[m], of_row[m], of_layer, self.random(i, WEIGHT, place, entry, m))

    def move(self, word: list[int], slope: int, rate: int, r16: int) -> None:
        """Update: one weight."""
        t, top = 31 if slope >= 0 else -32, 2 ** (self.latent - 1)
        word[1] = t if self.settings.optimiser == "sign-sgd" else word[1] + ((t - word[1] + r16 % 8) >> 3)
        word[0] = clip(word[0] - (((2 * word[1] + 1) * rate + (r16 >> 4)) >> 12), -top, top - 1)
