"""The top of a Zynq-7000 design: the processor, the accelerator, and what joins them."""

from __future__ import annotations

from amaranth import ClockDomain, ClockSignal, Instance, Module, ResetSignal, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import Out

from bnnedge.boards.board import PINS, Board
from bnnedge.boards.zynq import ps7
from bnnedge.boards.zynq.axi3 import HP_ID_BITS, Axi3, MemoryPort
from bnnedge.boards.zynq.bridge import GP_DATA_BITS, GP_ID_BITS, RegisterBridge
from bnnedge.configuration import Configuration
from bnnedge.hw.accelerator import Accelerator
from bnnedge.hw.bus.axi import DATA_BITS

PROCESSOR = "ps7"  # name of the cell, to which constraints refer


class ResetSynchroniser(wiring.Component):
    """Resets `sync` at once when `assert_n` falls, and two clock edges after it has risen."""

    def __init__(self) -> None:
        super().__init__({"assert_n": wiring.In(1), "reset": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.domains.guarded = ClockDomain(async_reset=True, local=True)
        stages = Signal(2, init=0b11, attrs={"ASYNC_REG": "TRUE"})
        m.d.comb += [ClockSignal("guarded").eq(ClockSignal()), ResetSignal("guarded").eq(~self.assert_n)]
        m.d.guarded += stages.eq(stages << 1)
        m.d.comb += self.reset.eq(stages[1])
        return m


class Top(wiring.Component):
    """The accelerator on a board: registers at GP0, memory at two HP ports, all in the domain of fabric clock 0.

    Members
    -------
    One output for each of the board's pins: led_busy, a program runs; led_error, it stopped with an error.
    """

    def __init__(self, board: Board, config: Configuration) -> None:
        self.board, self.config = board, config
        super().__init__({port: Out(1) for port in board.pins})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        clocks, resets_n = Signal(4), Signal(4)
        m.domains.sync = ClockDomain()
        m.submodules.buffer = Instance("BUFG", i_I=clocks[0], o_O=ClockSignal())
        m.submodules.reset = reset = ResetSynchroniser()
        m.d.comb += [reset.assert_n.eq(resets_n[0]), ResetSignal().eq(reset.reset)]

        m.submodules.accelerator = accelerator = Accelerator(self.config)
        m.submodules.bridge = bridge = RegisterBridge()
        gp0 = Axi3(GP_DATA_BITS, GP_ID_BITS).create(path=("gp0",))
        wiring.connect(m, gp0, bridge.gp)
        wiring.connect(m, bridge.axi, accelerator.s_axi)
        hp = {}
        for number, port in zip(self.board.memory_ports, (accelerator.m0_axi, accelerator.m1_axi), strict=True):
            m.submodules[f"memory_{number}"] = memory = MemoryPort()
            wiring.connect(m, port, memory.axi4)
            hp[number] = Axi3(DATA_BITS, HP_ID_BITS).flip().create(path=(f"hp{number}",))
            wiring.connect(m, memory.axi3, hp[number])
        m.submodules[PROCESSOR] = ps7.instance(
            clock=ClockSignal(), fabric_clocks=clocks, fabric_resets=resets_n, interrupt=accelerator.irq, gp0=gp0, hp=hp
        )

        lights = dict(zip(PINS, (accelerator.busy, accelerator.error), strict=True))
        m.d.comb += [getattr(self, port).eq(lights[port]) for port in self.board.pins]
        return m
