"""The random numbers of training: a hash of coordinates seeds each tile, xorshift64 steps once per row.

Because a tile's numbers depend on its coordinates alone, the order of work does not matter, and a whole matrix is
drawn with a few vector operations. docs/arithmetic.md, "Random numbers". Words of 32 and 64 bits are kept in int64: not
every array library shifts unsigned numbers.
"""

from __future__ import annotations

from bnnedge import formats
from bnnedge.formats import Kind
from bnnedge.sim.arrays import NUMPY, Array, Library

_WORD = (1 << 32) - 1


class Random:
    """Random bits for `lanes` x `lanes` tiles, from a 64-bit seed, in arrays of a library."""

    def __init__(self, seed: int, lanes: int, library: Library = NUMPY) -> None:
        self.keys = (seed & _WORD, seed >> 32)
        self.lanes, self.library = lanes, library

    def seeds(self, step: int, layer: int, kind: Kind, shape: tuple[int, int, int]) -> Array:
        """Return the 64-bit seeds of the tiles of one tensor, as int64; shape: (places, tiles, groups)."""
        xp, device = self.library.xp, self.library.device
        places, tiles, groups = (xp.arange(n, dtype=xp.int64, device=device) for n in shape)
        x = groups << 12 | tiles[:, None] | (layer << 2 | kind) << 24
        y = places[:, None, None] << formats.PLACE_SHIFT ^ step & _WORD
        right, left = formats.HASH_ROTATIONS
        for i in range(formats.HASH_ROUNDS):
            x = ((x >> right | x << 32 - right & _WORD) + y & _WORD) ^ (self.keys[i & 1] ^ i)
            y = (y << left & _WORD | y >> 32 - left) ^ x
        return y << 32 | x

    def draw(self, step: int, layer: int, kind: Kind, shape: tuple[int, int, int]) -> Array:
        """Return 16 random bits for each element of a tensor, a matrix at each of its places: int32 of that shape.

        shape: (places, rows, columns).
        """
        xp = self.library.xp
        places, rows, columns = shape
        tiles, groups = -(-rows // self.lanes), -(-columns // self.lanes)
        height = min(rows, self.lanes)
        state, steps = self.seeds(step, layer, kind, (places, tiles, groups)), []
        a, b, c = formats.XORSHIFT
        for _ in range(height):
            steps.append(state)
            state = state ^ state << a
            state = state ^ _logical(state, b)
            state = state ^ state << c
        states, most = xp.stack(steps, axis=2), 64 - formats.RANDOM_BITS
        drawn = xp.empty((*states.shape, self.lanes), dtype=xp.int32, device=self.library.device)
        for lane in range(self.lanes):
            # Lanes 4m + r read the 16-bit word m of the state rotated right by 4r.
            turn = formats.RANDOM_LANE_STEP * (lane % 4) + formats.RANDOM_BITS * (lane // 4 % 4)
            word = states >> turn if turn <= most else _logical(states, turn) | states << 64 - turn
            drawn[..., lane] = xp.astype(word & (1 << formats.RANDOM_BITS) - 1, xp.int32)
        return xp.reshape(drawn, (places, tiles * height, groups * self.lanes))[:, :rows, :columns]


class Nearest(Random):
    """No randomness, for ablations: the middle of all draws, with which every rounding is to the nearest."""

    def draw(self, step: int, layer: int, kind: Kind, shape: tuple[int, int, int]) -> Array:
        xp = self.library.xp
        middle = 1 << formats.RANDOM_BITS - 1 | 4  # of all bits, and of the lowest three, which round the moments
        return xp.full(shape, middle, dtype=xp.int32, device=self.library.device)


def _logical(words: Array, by: int) -> Array:
    """Shift 64-bit words right, zeros coming in."""
    return words >> by & (1 << 64 - by) - 1
