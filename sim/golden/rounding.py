"""Loops that draw random numbers where they round with them: gradient codes and the update of weights.

`plain.Plain` says what they compute, docs/arithmetic.md what is drawn. A row of a tile needs the state of the row before it, so
that images, or rows of weights, follow each other, and threads share pixels, or tiles. What `loops` says of int32 goes for these.
"""

from __future__ import annotations

import numpy as np

from bnnedge import formats as f
from bnnedge.sim.golden.jit import compiled, inlined

_BITS, _MEAN = f.RANDOM_BITS, f.GRADIENT_MEAN
_LEFT, _RIGHT, _LAST = f.XORSHIFT
_ROUNDS, (_ROR, _ROL), _PLACE = f.HASH_ROUNDS, f.HASH_ROTATIONS, f.PLACE_SHIFT
_TURN, _RATE, _MOMENT = f.RANDOM_LANE_STEP, f.RATE, f.MOMENT
_HALF, _MASK = 1 << _MOMENT - 1, (1 << _MOMENT) - 1
_WORD = np.uint64((1 << 32) - 1)


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
def draw(states, lanes, drawn):
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


@inlined
def seeds(states, keys, step, layer, kind, place, tile):
    """Set a row's states (groups,) uint64 to those of a tile's first row, at a place; keys (2,) uint64."""
    for group in range(states.shape[0]):
        states[group] = _seed(keys[0], keys[1], step, layer, kind, place, tile, group)


@inlined
def _noise(drawn, e):
    """Random number of 0 .. 2**(e+1) - 1."""
    return np.int32(np.int32(drawn << 8) >> np.int32(_BITS + 8 - (e + 1)))


@inlined
def _finer(dy, drawn, e):
    """u, int32: dy / 2**e rounded up or down to a code at random, with a bit more below."""
    return np.int32(np.int32(dy - np.int32(1 << e)) + _noise(drawn, e)) >> np.int32(e)


@inlined
def _code(u, limit):
    """Half q, int8, of the code 2 q + 1, within -limit .. limit - 1."""
    return np.int8(min(max(np.int32(u >> 1), np.int32(-limit)), np.int32(limit - 1)))


@inlined
def _twin(u, limit):
    """Half q, int8, of the code 2 q of twin planes, within -limit .. limit."""
    return np.int8(min(max(np.int32(u + 1 >> 1), np.int32(-limit)), np.int32(limit)))


@inlined
def _size(u):
    """u, or -1 - u of a negative one."""
    return np.int32(u ^ np.int32(u >> 31))


@inlined
def _centred(d, c1):
    """dy, int32."""
    return np.int32(np.int32(d << _MEAN) - c1)


@compiled
def codes(d, c1, e, limit, keys, step, layer, kind, lanes, start, stop, code):
    """Halves of codes (B, h, w, M) int8 of the centred gradient d (B, h, w, M) int32, rows start..stop of the map.

    Returns how many are beyond their range, -2 limit .. 2 limit - 1 of u, and how many beyond half of it.
    """
    images, _, width, channels = d.shape
    groups = -(-channels // lanes)
    states, drawn = np.empty((stop - start, width, groups), np.uint64), np.empty(groups * lanes, np.int32)
    clipped, large = np.int64(0), np.int64(0)
    for image in range(images):
        for row in range(start, stop):
            for column in range(width):
                state = states[row - start, column]
                if image % lanes == 0:
                    seeds(state, keys, step, layer, kind, row * width + column, image // lanes)
                draw(state, lanes, drawn)
                for c in range(channels):
                    u = _finer(_centred(d[image, row, column, c], c1[c]), drawn[c], e)
                    code[image, row, column, c] = _code(u, limit)
                    clipped += _size(u) >= 2 * limit
                    large += _size(u) >= limit
    return clipped, large


@compiled
def codes_of_pooled(d, route, c1, elsewhere, e, limit, keys, step, layer, kind, lanes, start, stop, code):
    """The same, of twin planes, where outputs are pooled: d and route (B, h, w, M), code (B, 2h, 2w, M), rows start..stop of it.

    elsewhere: (M,) int32, what is taken off at the places that d is not routed to.
    """
    images, _, width, channels = code.shape
    groups = -(-channels // lanes)
    states, drawn = np.empty((stop - start, width, groups), np.uint64), np.empty(groups * lanes, np.int32)
    clipped, large = np.int64(0), np.int64(0)
    for image in range(images):
        for row in range(start, stop):
            for column in range(width):
                state = states[row - start, column]
                if image % lanes == 0:
                    seeds(state, keys, step, layer, kind, row * width + column, image // lanes)
                draw(state, lanes, drawn)
                y, x, place = row >> 1, column >> 1, np.uint8(2 * (row & 1) + (column & 1))
                for c in range(channels):
                    here = route[image, y, x, c] == place
                    dy = _centred(d[image, y, x, c], c1[c]) if here else np.int32(-elsewhere[c])
                    u = _finer(dy, drawn[c], e)
                    code[image, row, column, c] = _twin(u, limit)
                    clipped += _size(u) >= 2 * limit
                    large += _size(u) >= limit
    return clipped, large


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
        seeds(state, keys, step, layer, kind, tap, tile)
        for row in range(tap * inputs + tile * lanes, tap * inputs + min((tile + 1) * lanes, inputs)):
            draw(state, lanes, drawn)
            for c in range(channels):
                target = np.int32(_HALF - 1) if slope[row, c] >= 0 else np.int32(-_HALF)
                if momentum:
                    k = np.int32((np.int32(words[row, c] & _MASK) ^ _HALF) - _HALF)
                    k = np.int32(k + (np.int32(np.int32(target - k) + np.int32(drawn[c] & 7)) >> 3))
                else:
                    k = target
                move = np.int32(np.int32(np.int32(np.int32(2 * k + 1) * rate) + np.int32(drawn[c] >> _BITS - _RATE)) >> _RATE)
                w = np.int32(np.int32(words[row, c] >> _MOMENT) - move)
                w = min(max(w, np.int32(-top)), np.int32(top - 1))
                out[row, c] = np.int16(np.int32(w << _MOMENT) | np.int32(k & _MASK))
