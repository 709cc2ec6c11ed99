"""Block RAM that a configuration takes, from the list of its memories."""

from __future__ import annotations

import dataclasses

from bnnedge import formats
from bnnedge.configuration import Configuration
from bnnedge.hw.accelerator import LABELS
from bnnedge.hw.buffers.banked import parts
from bnnedge.hw.heads.softmax import CLASSES, LABEL_BITS, LOGITS, PARAMETERS, SUMS
from bnnedge.hw.layouts import RECORD, TOTALS, tile_row

SMALLEST = 128  # words: smaller memories become LUT RAM

# A RAMB18 of series 7, with a reading and a writing port: words by bits. Two make a RAMB36.
_SHAPES = ((512, 36), (1024, 18), (2048, 9), (4096, 4), (8192, 2), (16384, 1))


@dataclasses.dataclass(frozen=True)
class Memory:
    """Memories in block RAM: `count` of them, of `words` words of `bits` bits, read at `ports` addresses at a time."""

    name: str
    words: int
    bits: int
    count: int = 1
    ports: int = 1

    @property
    def block_rams(self) -> float:
        """RAMB36 for all of them, each in the shape that takes the fewest; every reading port needs a copy."""
        halves = min(-(-self.words // words) * -(-self.bits // bits) for words, bits in _SHAPES)
        return self.count * self.ports * halves / 2


def memories(config: Configuration) -> list[Memory]:
    """Every memory of the accelerator that Yosys puts into block RAM.

    Tables become logic, and what is read and written at one address LUT RAM.
    """
    found = [
        *(Memory("left buffer", words, config.word, count=config.lanes) for _, words in parts(config.left_depth)),
        *(Memory("right buffer", words, config.word, count=config.lanes) for _, words in parts(config.right_depth)),
        Memory("tile buffer", config.tile_rows, tile_row(config).size),
        Memory("parameters", config.channels, RECORD.size),
        Memory("moving means", config.channels, formats.MU_BITS),
        Memory("totals", config.layer_channels, TOTALS.size),
        Memory("labels", LABELS - 1, LABEL_BITS),  # a FIFO holds its last word in its output register
        Memory("softmax, classes", CLASSES, PARAMETERS.size),
        Memory("softmax, totals", CLASSES, SUMS.size),
        Memory("softmax, logits", CLASSES, LOGITS.size),
    ]
    return [memory for memory in found if memory.words >= SMALLEST]


def block_rams(config: Configuration) -> float:
    """RAMB36 of the whole accelerator; a RAMB18 counts as half."""
    return sum(memory.block_rams for memory in memories(config))
