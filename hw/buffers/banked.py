"""A bit buffer: as many banks as the engine has lanes, all read at one address."""

from __future__ import annotations

from amaranth import Cat, Module, Mux, Signal
from amaranth.hdl import Value
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from bnnedge.configuration import Configuration

READ_LATENCY = 2


def parts(depth: int) -> list[tuple[int, int]]:
    """(first word, words) of the powers of two that `depth` is made of, the largest first.

    Each is a memory that synthesis builds without a multiplexer behind its block RAMs: that one comes behind their output
    registers here.
    """
    sizes = [1 << bit for bit in reversed(range(depth.bit_length())) if depth >> bit & 1]
    return [(sum(sizes[:i]), size) for i, size in enumerate(sizes)]


class WritePort(wiring.Signature):
    """One write: `data[i]` goes to bank i at `address`; `granules[i]` has a 1 for each granule (`lanes` bits) of it."""

    def __init__(self, config: Configuration, depth: int) -> None:
        super().__init__(
            {
                "address": Out(range(depth)),
                "data": Out(data.ArrayLayout(config.word, config.lanes)),
                "granules": Out(data.ArrayLayout(config.granules, config.lanes)),
            }
        )


class BankedBuffer(wiring.Component):
    """`lanes` banks of `depth` words.

    Members
    -------
    address: in. words: out, one of each bank, READ_LATENCY cycles later (block RAM, then its output register; in a depth
    that is no power of two, a multiplexer behind that).
    write: in, see `WritePort`.
    """

    def __init__(self, config: Configuration, depth: int) -> None:
        self.config, self.depth = config, depth
        super().__init__(
            {
                "address": In(range(depth)),
                "words": Out(data.ArrayLayout(config.word, config.lanes)),
                "write": In(WritePort(config, depth)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        lanes, word = self.config.lanes, self.config.word
        choices: list[tuple[Value, Value]] = []
        for first, size in parts(self.depth):
            place = size.bit_length() - 1  # `first` is a multiple of `size`
            name = f"from_{first}"
            words = Signal(self.words.shape(), name=f"words_{name}", reset_less=True)
            chosen = Signal(READ_LATENCY, name=f"chosen_{name}", reset_less=True)
            written = Signal(name=f"written_{name}")
            m.d.comb += written.eq(self.write.address[place:] == first >> place)
            m.d.sync += chosen.eq(Cat(self.address[place:] == first >> place, chosen))
            for i in range(lanes):
                m.submodules[f"bank_{i}_{name}"] = bank = memory.Memory(shape=word, depth=size, init=[])
                read, write = bank.read_port(), bank.write_port(granularity=lanes)
                m.d.comb += [
                    read.addr.eq(self.address),
                    write.addr.eq(self.write.address),
                    write.data.eq(self.write.data[i]),
                    write.en.eq(Mux(written, self.write.granules[i], 0)),
                ]
                m.d.sync += words[i].eq(read.data)
            choices.append((chosen[-1], words.as_value()))
        *others, (_, shown) = choices  # the last part, if no other one is chosen
        for is_chosen, read_words in reversed(others):
            shown = Mux(is_chosen, read_words, shown)
        m.d.comb += self.words.eq(shown)
        return m


def replicate(bits: Signal, config: Configuration) -> Cat:
    """A granule in every place of a word: the write mask picks one."""
    return Cat([bits] * config.granules)
