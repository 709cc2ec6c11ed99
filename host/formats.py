"""Number formats of the integer training arithmetic: the one place that states them.

`docs/arithmetic.md` gives the equations; hardware, golden model, compiler and documents take every width from here.
"Qm.n" is a two's complement number with n fraction bits. A *code* of g planes is the odd integer sum_i 2**i * s_i,
s_i = +-1, stored as the g bits of the unsigned number u, code = 2*u - (2**g - 1).
"""

import enum
from typing import NamedTuple

import numpy as np

VERSION = 3  # of the arithmetic; states and programs of another one are refused
BATCH_STEP, MOST_BATCH = 16, 512  # images of a step: a multiple, at most
MAX_PLANES = 8  # planes of a pixel or of a gradient code, at most

STATISTICS = 6  # fraction bits of mu, psi and tau
DECAY = 3  # moving += (new - moving) / 2**DECAY, of mu, psi and the gradient's mean; less in the first steps
SIZE_DECAY = 10  # likewise, of the size of the gradient's mean
SLOWEST_DECAY = 6  # of mu and psi at most, which average over more steps where the rate is low, see `rates.decay`
SLOW_RATE = 7  # log2 of the device's rate below which they do
WARM_UP = 2  # a decay is step / 2**WARM_UP at most

MOMENT = 6  # bits of the moment k, -32..31, standing for (2k + 1) / 64, below the latent weight in one word
WEIGHT_WORD = 16  # bits of such a word; in memory it may be narrower, `Configuration.weight_word`
WEIGHTS_PER_CYCLE = 4  # words that the update moves at a time
RATE = 12  # bits of a move, (2k + 1) times a layer's rate, below one LSB of the latent weight
RATE_UNIT = 17  # the learning rate is a multiple of 2**-RATE_UNIT
RATE_BITS = 16

BETA_BITS = 20  # of beta
BETA_USED = 12  # the uppermost of them, which move thresholds and logits
BETA_FRACTION = 9  # fraction bits of these: beta is within -4..4
CENTRE = 8  # fraction bits of a channel's mean gradient m, by which codes are centred and beta learns
CENTRE_BITS = 28  # of m, signed
SIZE = CENTRE + SIZE_DECAY  # fraction bits of the mean gradient's size v: so many more that small ones move its average, too
SIZE_BITS = 40  # of v, unsigned
SLOPE_DECAY = 3  # likewise, of the last layer's slope
LAST_BITS = 16  # k of the last layer, whose gradients are of known size
UNIT_SHIFT = 8  # bits that a mean gradient is shifted at most when the exponents above it have changed
STEP_FRACTION, STEP_LIMIT = 8, 3  # beta moves by rate * m / 2**bits(v), a quotient with these fraction bits, within 2**STEP_LIMIT
BETA_RATE = 7  # fraction bits of that product below the lowest bit of beta

GRADIENT_MEAN = 2  # fraction bits kept when the batch means are subtracted from the gradient
CLIPPED = 2  # of the gradients of a layer 2**-(bits + CLIPPED) may be clipped, `bits` being those of a code,
MOST_CLIPPED = 4  # and 2**-MOST_CLIPPED at most
MAX_EXPONENT = 16  # e, the gradient code stands for code * 2**e
STEP_BITS = 32  # of the number of steps taken; training ends there
EXPONENT_BITS = 16  # absolute exponents E and their running sum

LOG2_E = 1477  # log2(e), LOG2_E_FRACTION fraction bits
INVERSE_LOG2_E = 710  # 1 / log2(e), as many
LOG2_E_FRACTION = 10
LOGIT = 8  # fraction bits of z, in units of log2: softmax(v) = 2**(v * log2 e) / sum
LOGIT_BITS = 14  # z saturates at +-(2**13 - 1)
RECIPROCAL = 20  # (LOG2_E << RECIPROCAL) // psi, psi clamped to 1.0 or more: at most 25 bits
MAX_CLASSES = 128  # that the softmax holds
PROBABILITY = 12  # fraction bits of softmax and of dz

MU_BITS = 28  # a signed 22-bit sum and STATISTICS fraction bits; psi is unsigned of the same width
# An entry of the parameter memory in DDR: words of 64 bits, each with these fields from bit 0 up. An exponent record keeps E in
# `mu`, the unit A in `centre`.
RECORD_WORDS: tuple[dict[str, int], ...] = (
    {"mu": MU_BITS, "psi": MU_BITS},
    {"centre": CENTRE_BITS, "beta": BETA_BITS},
    {"size": SIZE_BITS},
)
RECORD_SIGNED = ("mu", "centre", "beta")
SUM_BITS = 32  # sums of a channel over the rows of one pass, signed: the compiler keeps passes small enough
TOTAL_BITS = 40  # sums of a channel over a batch: 22-bit numbers, up to 2**SAMPLE_BITS of them
SAMPLE_BITS = 18  # log2 of the samples of a channel over a batch, at most
SLOPE_GUARD = 5  # bits that a weight gradient summed over several passes has beyond `accumulator`
MEAN = 16  # 1/n = reciprocal / 2**(MEAN + ceil(log2 n)), exact if n is a power of two
WINDOW_BITS = 16  # of a convolution of pixels: columns of its window times channels, at most

PLACE_SHIFT = 20  # where a place (pixel or tap) enters the hash of random numbers, above the step
PLACE_BITS = 12

# 2**-f and log2(1 + f), f = i / 256: the two tables of the base-2 softmax.
EXP2_TABLE: tuple[int, ...] = tuple(int(v) for v in np.rint(2.0**PROBABILITY * 2.0 ** (-np.arange(256) / 256)))
LOG2_TABLE: tuple[int, ...] = tuple(int(v) for v in np.rint(256 * np.log2(1 + np.arange(256) / 256)))

# The seed of a tile's random numbers: ROUNDS of a 64-bit add-rotate-xor permutation in the manner of the Speck cipher
# (Beaulieu et al., 2013), then one xorshift64 step (Marsaglia, 2003) for each row.
HASH_ROUNDS = 8
HASH_ROTATIONS = (8, 3)
XORSHIFT = (13, 7, 17)
RANDOM_LANE_STEP = 4  # lane i reads the 16 bits that start at bit 4*i, cyclic
RANDOM_BITS = 16


class Kind(enum.IntEnum):
    """What a layer draws random numbers for."""

    CODE = 0
    WEIGHT = 1


class Code(NamedTuple):
    """Format of a layer's gradient codes.

    planes: their number. twin: the two lowest weigh the same, and there is a zero.
    """

    planes: int
    twin: bool = False

    @property
    def largest(self) -> int:
        """The largest |code|."""
        return 1 << self.planes - 1 if self.twin else (1 << self.planes) - 1

    @property
    def bits(self) -> int:
        """log2 of the range of codes, from end to end half of it: codes reach 2**bits, or less by one."""
        return self.planes - self.twin

    def clips(self, gradients: int) -> int:
        """How many codes of a tensor of `gradients` may be clipped: beyond that, the layer's exponent grows."""
        return gradients >> max(self.bits + CLIPPED, MOST_CLIPPED)
