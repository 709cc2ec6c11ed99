"""A bit buffer: as many banks as the engine has lanes, all read at one address."""

from __future__ import annotations

from amaranth import Cat, Module, Signal
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from bnnedge.configuration import Configuration

READ_LATENCY = 2


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
    address: in. words: out, one of each bank, READ_LATENCY cycles later (block RAM, then its output register).
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
        for i in range(self.config.lanes):
            m.submodules[f"bank_{i}"] = bank = memory.Memory(shape=self.config.word, depth=self.depth, init=[])
            read = bank.read_port()
            write = bank.write_port(granularity=self.config.lanes)
            m.d.comb += [
                read.addr.eq(self.address),
                write.addr.eq(self.write.address),
                write.data.eq(self.write.data[i]),
                write.en.eq(self.write.granules[i]),
            ]
            m.d.sync += self.words[i].eq(read.data)
        return m


def replicate(bits: Signal, config: Configuration) -> Cat:
    """A granule in every place of a word: the write mask picks one."""
    return Cat([bits] * config.granules)
