"""Loops over whole tensors, compiled by Numba: what `compiled.Compiled` is made of.

Each does in one pass over the memory what `plain.Plain` does in many. Maps are (B, height, width, channels) or, where
position does not matter, rows (N, M) of M channels; a part of the work is a range of the first axis that is named, so that
threads share it. Sums are of int32, which NumPy's rules would make int64, so each result is narrowed at once: twice as many
fit a vector register.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np

from bnnedge import formats as f

_BITS, _STATISTICS, _MEAN = f.RANDOM_BITS, f.STATISTICS, f.GRADIENT_MEAN
_LEFT, _RIGHT, _LAST = f.XORSHIFT
_ROUNDS, (_ROR, _ROL), _PLACE = f.HASH_ROUNDS, f.HASH_ROTATIONS, f.PLACE_SHIFT
_TURN, _RATE, _MOMENT = f.RANDOM_LANE_STEP, f.RATE, f.MOMENT
_WORD = np.uint64((1 << 32) - 1)
_AT_ONCE = 256  # rows whose sums are held in 32 bits


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile when called, without Python's lock, and keep what was compiled where there is a folder for it."""
    try:
        return numba.njit(nogil=True, cache=True)(function)
    except RuntimeError:  # neither the package's own folder nor the account's can be written to
        return numba.njit(nogil=True)(function)


inlined = numba.njit(nogil=True, inline="always")


@inlined
def _seed(key0, key1, step, layer, kind, place, tile, group):
    """State of a tile's first row: docs/arithmetic.md, Random numbers."""
    x = np.uint64(layer << 26 | kind << 24 | group << 12 | tile)
    y = (np.uint64(place) << np.uint64(_PLACE) ^ np.uint64(step)) & _WORD
    for i in range(_ROUNDS):
        key = key1 if i & 1 else key0
        turned = (x >> np.uint64(_ROR) | x << np.uint64(32 - _ROR)) & _WORD
        x = (turned + y & _WORD) ^ key ^ np.uint64(i)
        y = (y << np.uint64(_ROL) | y >> np.uint64(32 - _ROL)) & _WORD ^ x
    return y << np.uint64(32) | x


@inlined
def _next(state):
    """State of the next row: xorshift64."""
    state ^= state << np.uint64(_LEFT)
    state ^= state >> np.uint64(_RIGHT)
    return state ^ state << np.uint64(_LAST)


@inlined
def _drawn(states, lanes, drawn):
    """Fill `drawn` (groups * lanes,) int32 with 16 bits a lane from a row's states (groups,); let these go on to the next row.

    Lane i reads the bits from 4 i on, cyclically.
    """
    for group in range(states.shape[0]):
        state, first = states[group], np.uintp(group * lanes)
        for lane in range(np.uintp(lanes)):
            right = np.uint64(_TURN) * np.uint64(lane) & np.uint64(63)
            turned = state >> right | state << (np.uint64(64) - right & np.uint64(63))
            drawn[first + lane] = np.int32(turned & np.uint64((1 << _BITS) - 1))
        states[group] = _next(state)


@compiled
def statistics(y, pivot, start, stop, sums, deviations):
    """Add the sums of y and of abs(y - pivot) to sums, deviations (M,) int64; y: (N, M) int32, rows start..stop."""
    channels = y.shape[1]
    plain, distance = np.empty(channels, np.int32), np.empty(channels, np.int32)
    for first in range(start, stop, _AT_ONCE):
        plain[:] = 0
        distance[:] = 0
        for row in range(first, min(first + _AT_ONCE, stop)):
            for c in range(channels):
                value = y[row, c]
                plain[c] = np.int32(plain[c] + value)
                distance[c] = np.int32(distance[c] + abs(np.int32(value - pivot[c])))
        for c in range(channels):
            sums[c] += plain[c]
            deviations[c] += distance[c]


@compiled
def normalise(y, tau, psi, start, stop, active, mask):
    """active = y >= tau, mask = abs(y - tau) <= psi, both bool (N, M); tau, psi (M,) int32 with STATISTICS fraction bits."""
    for row in range(start, stop):
        for c in range(y.shape[1]):
            distance = np.int32(np.int32(y[row, c] << _STATISTICS) - tau[c])
            active[row, c] = distance >= 0
            mask[row, c] = abs(distance) <= psi[c]


@compiled
def pool_sums(y, start, stop, best, route):
    """Largest of each four of y (B, 2h, 2w, M) int32, and where it stood: images start..stop of best, route (B, h, w, M)."""
    for image in range(start, stop):
        for row in range(best.shape[1]):
            for column in range(best.shape[2]):
                for c in range(best.shape[3]):
                    value, place = y[image, 2 * row, 2 * column, c], np.uint8(0)
                    for i in range(1, 4):
                        other = y[image, 2 * row + (i >> 1), 2 * column + (i & 1), c]
                        if other > value:
                            value, place = other, np.uint8(i)
                    best[image, row, column, c], route[image, row, column, c] = value, place


@compiled
def pool_signs(active, mask, start, stop, pooled, kept, route):
    """Pool signs, with the mask of the place that the gradient is routed to; bool and uint8, images start..stop."""
    for image in range(start, stop):
        for row in range(pooled.shape[1]):
            for column in range(pooled.shape[2]):
                y, x = 2 * row, 2 * column
                a, b, d, e = active[image, y, x], active[image, y, x + 1], active[image, y + 1, x], active[image, y + 1, x + 1]
                of_a, of_b = mask[image, y, x], mask[image, y, x + 1]
                of_d, of_e = mask[image, y + 1, x], mask[image, y + 1, x + 1]
                ones, masks, places = pooled[image, row, column], kept[image, row, column], route[image, row, column]
                for c in range(pooled.shape[3]):  # from the last place to the first one that is set
                    found, place = of_a[c], np.uint8(0)
                    if e[c]:
                        found, place = of_e[c], np.uint8(3)
                    if d[c]:
                        found, place = of_d[c], np.uint8(2)
                    if b[c]:
                        found, place = of_b[c], np.uint8(1)
                    if a[c]:
                        found, place = of_a[c], np.uint8(0)
                    ones[c] = a[c] | b[c] | d[c] | e[c]
                    masks[c], places[c] = found, place


@compiled
def signs(bits, start, stop, out):
    """+1 and -1, int8, of bool (N, M)."""
    for row in range(start, stop):
        for c in range(bits.shape[1]):
            out[row, c] = np.int8(2 * np.int8(bits[row, c]) - 1)


@compiled
def masked_sums(d, mask, pooled, start, stop, s1, s2):
    """Mask d (N, M) int32 where it is, and add its sums, and those of d times the sign, to s1, s2 (M,) int64."""
    channels = d.shape[1]
    for first in range(start, stop):
        for c in range(channels):
            value = d[first, c] if mask[first, c] else np.int32(0)
            d[first, c] = value
            s1[c] += value
            s2[c] += value if pooled[first, c] else -value


@compiled
def count(bits, start, stop, counts):
    """Add the number of true ones of bool (N, M) to counts (M,) int64."""
    channels = bits.shape[1]
    some = np.empty(channels, np.uint8)
    for first in range(start, stop, 255):
        some[:] = 0
        for row in range(first, min(first + 255, stop)):
            for c in range(channels):
                some[c] = np.uint8(some[c] + np.uint8(bits[row, c]))
        for c in range(channels):
            counts[c] += some[c]


@inlined
def _code(dy, drawn, e, limit):
    """Half q, int8, of the code 2 q + 1 that dy / 2**e is rounded to."""
    noise = np.int32(np.int32(drawn << 8) >> np.int32(_BITS + 8 - (e + 1)))
    q = np.int32(np.int32(np.int32(dy - np.int32(1 << e)) + noise) >> np.int32(e + 1))
    return np.int8(min(max(q, np.int32(-limit)), np.int32(limit - 1)))


@inlined
def _seeds(states, keys, step, layer, kind, pixel, tile):
    for group in range(states.shape[0]):
        states[group] = _seed(keys[0], keys[1], step, layer, kind, pixel, tile, group)


@compiled
def codes(d, active, c1, c2, e, limit, keys, step, layer, kind, lanes, start, stop, code):
    """Halves of codes (B, h, w, M) int8 of the centred gradient d (B, h, w, M) int32, rows start..stop of the map; sum |dy|."""
    images, _, width, channels = d.shape
    groups = -(-channels // lanes)
    states, drawn = np.empty((stop - start, width, groups), np.uint64), np.empty(groups * lanes, np.int32)
    total = np.int64(0)
    for image in range(images):
        for row in range(start, stop):
            for column in range(width):
                state = states[row - start, column]
                if image % lanes == 0:
                    _seeds(state, keys, step, layer, kind, row * width + column, image // lanes)
                _drawn(state, lanes, drawn)
                for c in range(channels):
                    x = c2[c] if active[image, row, column, c] else np.int32(-c2[c])
                    dy = np.int32(np.int32(np.int32(d[image, row, column, c] << _MEAN) - c1[c]) - x)
                    code[image, row, column, c] = _code(dy, drawn[c], e, limit)
                    total += abs(dy)
    return total


@compiled
def codes_of_pooled_signs(d, active, route, c1, c2, e, limit, keys, step, layer, kind, lanes, start, stop, code):
    """The same where signs are pooled: d and route (B, h, w, M), active and code (B, 2h, 2w, M), rows start..stop of these."""
    images, _, width, channels = active.shape
    groups = -(-channels // lanes)
    states, drawn = np.empty((stop - start, width, groups), np.uint64), np.empty(groups * lanes, np.int32)
    total = np.int64(0)
    for image in range(images):
        for row in range(start, stop):
            for column in range(width):
                state = states[row - start, column]
                if image % lanes == 0:
                    _seeds(state, keys, step, layer, kind, row * width + column, image // lanes)
                _drawn(state, lanes, drawn)
                y, x0, place = row >> 1, column >> 1, np.uint8(2 * (row & 1) + (column & 1))
                for c in range(channels):
                    value = d[image, y, x0, c] if route[image, y, x0, c] == place else np.int32(0)
                    x = c2[c] if active[image, row, column, c] else np.int32(-c2[c])
                    dy = np.int32(np.int32(np.int32(value << _MEAN) - c1[c]) - x)
                    code[image, row, column, c] = _code(dy, drawn[c], e, limit)
                    total += abs(dy)
    return total


@compiled
def codes_of_pooled_sums(d, active, route, c1, c2, e, limit, keys, step, layer, kind, lanes, start, stop, code):
    """The same where sums are pooled: d, active, route (B, h, w, M), code (B, 2h, 2w, M), rows start..stop of it."""
    images, _, width, channels = code.shape
    groups = -(-channels // lanes)
    states, drawn = np.empty((stop - start, width, groups), np.uint64), np.empty(groups * lanes, np.int32)
    total = np.int64(0)
    for image in range(images):
        for row in range(start, stop):
            for column in range(width):
                state = states[row - start, column]
                if image % lanes == 0:
                    _seeds(state, keys, step, layer, kind, row * width + column, image // lanes)
                _drawn(state, lanes, drawn)
                y, x0, place = row >> 1, column >> 1, np.uint8(2 * (row & 1) + (column & 1))
                for c in range(channels):
                    x = c2[c] if active[image, y, x0, c] else np.int32(-c2[c])
                    dy = np.int32(np.int32(np.int32(d[image, y, x0, c] << _MEAN) - c1[c]) - x)
                    here = route[image, y, x0, c] == place
                    other = np.int8(0) if drawn[c] >= 1 << _BITS - 1 else np.int8(-1)  # +1 or -1
                    code[image, row, column, c] = _code(dy, drawn[c], e, limit) if here else other
                    total += abs(dy) if here else np.int32(0)
    return total


@compiled
def updated(words, slope, rate, top, momentum, keys, step, layer, kind, lanes, inputs, start, stop, out):
    """Words (K, M) int16 of latent weight and moment after a step against the slope (K, M); tiles start..stop of all taps.

    A tap has `inputs` rows and draws by tiles of `lanes` of them; of these tiles, over all taps, start..stop are meant.
    """
    channels, tiles = words.shape[1], -(-inputs // lanes)
    groups = -(-channels // lanes)
    state, drawn = np.empty(groups, np.uint64), np.empty(groups * lanes, np.int32)
    for each in range(start, stop):
        tap, tile = each // tiles, each % tiles
        _seeds(state, keys, step, layer, kind, tap, tile)
        for row in range(tap * inputs + tile * lanes, tap * inputs + min((tile + 1) * lanes, inputs)):
            _drawn(state, lanes, drawn)
            for c in range(channels):
                target = np.int32(7) if slope[row, c] >= 0 else np.int32(-8)
                if momentum:
                    k = np.int32((np.int32(words[row, c] & 15) ^ 8) - 8)
                    k = np.int32(k + (np.int32(np.int32(target - k) + np.int32(drawn[c] & 7)) >> 3))
                else:
                    k = target
                move = np.int32(np.int32(np.int32(np.int32(2 * k + 1) * rate) + np.int32(drawn[c] >> _BITS - _RATE)) >> _RATE)
                w = np.int32(np.int32(words[row, c] >> _MOMENT) - move)
                w = min(max(w, np.int32(-top)), np.int32(top - 1))
                out[row, c] = np.int16(np.int32(w << _MOMENT) | np.int32(k & 15))


@compiled
def double(y, ones):
    """2 y + ones, in place, of (B, n, M) and (n, M) int32."""
    for image in range(y.shape[0]):
        for row in range(y.shape[1]):
            for c in range(y.shape[2]):
                y[image, row, c] = np.int32(np.int32(y[image, row, c] << 1) + ones[row, c])


@compiled
def gather(x, channels, ky, kx, stride, pad_y, pad_x, out_h, out_w, start, stop, rows):
    """Windows of images start..stop of maps (B, h, w * channels) int8 as rows (n * out_h * out_w, ky * kx * channels).

    Zeros stand where a window lies outside the map.
    """
    height, width, span = x.shape[1], x.shape[2], kx * channels
    at = 0
    for image in range(start, stop):
        for oy in range(out_h):
            for ox in range(out_w):
                left = (ox * stride - pad_x) * channels
                low, high = max(0, -left), min(span, width - left)
                for tap in range(ky):
                    y, first = oy * stride + tap - pad_y, tap * span
                    # Unsigned places: of signed ones Numba asks, for each element, whether they count from the end.
                    to, source = np.uintp(first), np.uintp(left + low)
                    if not 0 <= y < height or low >= high:
                        for i in range(np.uintp(span)):
                            rows[at, to + i] = 0
                    elif high - low == span:
                        for i in range(np.uintp(span)):
                            rows[at, to + i] = x[image, y, source + i]
                    else:
                        for i in range(np.uintp(low)):
                            rows[at, to + i] = 0
                        for i in range(np.uintp(high - low)):
                            rows[at, to + np.uintp(low) + i] = x[image, y, source + i]
                        for i in range(np.uintp(high), np.uintp(span)):
                            rows[at, to + i] = 0
                at += 1


@compiled
def scatter(rows, ones, channels, ky, kx, stride, pad_y, pad_x, out_h, out_w, out):
    """Sum 2 row + ones at the places of the windows of maps (B, h, w * channels), all int32: `plain.Plain.scatter`."""
    images, height, width = out.shape
    span = kx * channels
    for image in range(images):
        out[image] = 0
        for oy in range(out_h):
            for ox in range(out_w):
                row, left = rows[(image * out_h + oy) * out_w + ox], (ox * stride - pad_x) * channels
                low, high = max(0, -left), min(span, width - left)
                for tap in range(ky):
                    y = oy * stride + tap - pad_y
                    if 0 <= y < height and low < high:
                        source, to = np.uintp(tap * span + low), np.uintp(left + low)
                        for i in range(np.uintp(high - low)):
                            value = np.int32(np.int32(row[source + i] << 1) + ones[source + i])
                            out[image, y, to + i] = np.int32(out[image, y, to + i] + value)
