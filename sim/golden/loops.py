"""Loops over whole tensors, compiled by Numba: what `compiled.Compiled` is made of.

Each does in one pass over the memory what `plain.Plain` does in many. Maps are (B, height, width, channels) or, where
position does not matter, rows (N, M) of M channels; a part of the work is a range of the first axis that is named, so that
threads share it. Sums are of int32, which NumPy's rules would make int64, so each result is narrowed at once: twice as many
fit a vector register.
"""

from __future__ import annotations

import numpy as np

from bnnedge.formats import STATISTICS
from bnnedge.sim.golden.jit import compiled

_AT_ONCE = 256  # rows whose sums, of 22 bits each and once more for their distance, are held in 32


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
            distance = np.int32(np.int32(y[row, c] << STATISTICS) - tau[c])
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
def masked_sums(d, mask, start, stop, sums):
    """Clear d (N, M) int32 where the mask is not set, and add its sums to sums (M,) int64."""
    channels = d.shape[1]
    for first in range(start, stop):
        for c in range(channels):
            value = d[first, c] if mask[first, c] else np.int32(0)
            d[first, c] = value
            sums[c] += value


@compiled
def double(y, ones):
    """2 y + ones, in place, of (B, n, M) and (n, M) int32."""
    for image in range(y.shape[0]):
        for row in range(y.shape[1]):
            for c in range(y.shape[2]):
                y[image, row, c] = np.int32(np.int32(y[image, row, c] << 1) + ones[row, c])


@compiled
def gather(x, channels, ky, kx, stride, pad_y, pad_x, out_h, out_w, rows):
    """Windows of maps (B, h, w * channels) int8 as rows (B * out_h * out_w, ky * kx * channels), zeros outside the map."""
    images, height, width = x.shape
    span, at = kx * channels, 0
    for image in range(images):
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
