"""The random numbers of training: a hash of coordinates seeds each tile, xorshift64 steps once per row.

Because a tile's numbers depend on its coordinates alone, the order of work does not matter, and a whole matrix is
drawn with a few vector operations. docs/arithmetic.md, "Random numbers".
"""

from __future__ import annotations

import numpy as np

from bnnedge import formats
from bnnedge.formats import Kind


class Random:
    """Random bits for `lanes` x `lanes` tiles, from a 64-bit seed."""

    def __init__(self, seed: int, lanes: int) -> None:
        self.keys = (np.uint32(seed & 0xFFFFFFFF), np.uint32(seed >> 32))
        self.lanes = lanes

    def seeds(self, step: int, layer: int, kind: Kind, shape: tuple[int, int, int]) -> np.ndarray:
        """Return the uint64 seeds of the tiles of one tensor; shape: (places, tiles, groups)."""
        places, tiles, groups = (np.arange(n, dtype=np.uint32) for n in shape)
        x = groups << np.uint32(12) | tiles[:, None] | np.uint32((layer << 2 | kind) << 24)
        x = np.broadcast_to(x, shape)
        y = places[:, None, None] << np.uint32(formats.PLACE_SHIFT) ^ np.uint32(step & 0xFFFFFFFF)
        right, left = (np.uint32(r) for r in formats.HASH_ROTATIONS)
        for i in range(formats.HASH_ROUNDS):
            x = (x >> right | x << np.uint32(32 - right)) + y ^ self.keys[i & 1] ^ np.uint32(i)
            y = (y << left | y >> np.uint32(32 - left)) ^ x
        return y.astype(np.uint64) << np.uint64(32) | x

    def draw(self, step: int, layer: int, kind: Kind, shape: tuple[int, int, int]) -> np.ndarray:
        """Return 16 random bits for each element of a tensor, a matrix at each of its places: uint16 of that shape.

        shape: (places, rows, columns).
        """
        places, rows, columns = shape
        tiles, groups = -(-rows // self.lanes), -(-columns // self.lanes)
        height = min(rows, self.lanes)
        states = np.empty((places, tiles, height, groups), np.uint64)
        state = self.seeds(step, layer, kind, (places, tiles, groups))
        a, b, c = (np.uint64(n) for n in formats.XORSHIFT)
        for row in range(height):
            states[:, :, row] = state
            state = state ^ state << a
            state = state ^ state >> b
            state = state ^ state << c
        lanes = np.empty((*states.shape, self.lanes), np.uint16)
        quarter = self.lanes // 4  # lanes 4m + r read the 16-bit words of the state rotated right by 4r
        for r in range(4):
            turn = np.uint64(formats.RANDOM_LANE_STEP * r)
            turned = states >> turn | states << np.uint64(64 - turn) if r else states
            words = np.ascontiguousarray(turned).view("<u2").reshape(*states.shape, 4)
            lanes[..., r::4] = words[..., :quarter]
        return lanes.reshape(places, tiles * height, groups * self.lanes)[:, :rows, :columns]
