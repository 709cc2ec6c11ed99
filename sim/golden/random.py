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

    def seeds(self, step: int, layer: int, kind: Kind, tiles: int, groups: int) -> np.ndarray:
        """Return the (tiles, groups) uint64 seeds of the tiles of one tensor."""
        place = np.arange(groups, dtype=np.uint32) << np.uint32(12) | np.arange(tiles, dtype=np.uint32)[:, None]
        x = place | np.uint32((layer << 2 | kind) << 24)
        y = np.full_like(x, step & 0xFFFFFFFF)
        right, left = (np.uint32(r) for r in formats.HASH_ROTATIONS)
        for i in range(formats.HASH_ROUNDS):
            x = (x >> right | x << np.uint32(32 - right)) + y ^ self.keys[i & 1] ^ np.uint32(i)
            y = (y << left | y >> np.uint32(32 - left)) ^ x
        return y.astype(np.uint64) << np.uint64(32) | x

    def draw(self, step: int, layer: int, kind: Kind, shape: tuple[int, ...]) -> np.ndarray:
        """Return 16 random bits for each element of a matrix of this shape: (rows, columns) uint16."""
        rows, columns = shape
        tiles, groups = -(-rows // self.lanes), -(-columns // self.lanes)
        height = min(rows, self.lanes)
        states = np.empty((tiles, height, groups), np.uint64)
        state = self.seeds(step, layer, kind, tiles, groups)
        a, b, c = (np.uint64(n) for n in formats.XORSHIFT)
        for row in range(height):
            states[:, row] = state
            state = state ^ state << a
            state = state ^ state >> b
            state = state ^ state << c
        lanes = np.empty((tiles, height, groups, self.lanes), np.uint16)
        quarter = self.lanes // 4  # lanes 4m + r read the 16-bit words of the state rotated right by 4r
        for r in range(4):
            turn = np.uint64(formats.RANDOM_LANE_STEP * r)
            turned = states >> turn | states << np.uint64(64 - turn) if r else states
            words = np.ascontiguousarray(turned).view("<u2").reshape(tiles, height, groups, 4)
            lanes[..., r::4] = words[..., :quarter]
        return lanes.reshape(tiles * height, groups * self.lanes)[:rows, :columns]
