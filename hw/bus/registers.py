"""The register file behind the AXI-Lite port, laid out by `bnnedge.registers`."""

from __future__ import annotations

from amaranth import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from bnnedge import isa, registers
from bnnedge.configuration import Configuration
from bnnedge.hw.bus.axi import AxiLite
from bnnedge.hw.checks import check_offer


class Registers(wiring.Component):
    """One transaction at a time; byte strobes are ignored, registers are written whole.

    Members
    -------
    axi: in, the AXI-Lite port. start, reset: out, one cycle. resetting: in, a reset is under way.
    program, step, seed: out. busy, done, error, cause, port, error_address: in, the state.
    counters: in, one member for each `registers.Counter`.
    """

    def __init__(self, config: Configuration) -> None:
        self.config = config
        super().__init__(
            {
                "axi": In(AxiLite()),
                "start": Out(1),
                "reset": Out(1),
                "resetting": In(1),
                "program": Out(32),
                "step": Out(32),
                "seed": Out(64),
                "busy": In(1),
                "done": In(1),
                "error": In(1),
                "cause": In(4),
                "port": In(1),
                "error_address": In(32),
                **{counter.name.lower(): In(registers.COUNTER_BITS) for counter in registers.Counter},
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        axi = self.axi
        control = registers.REGISTERS["CONTROL"]
        values = {
            "MAGIC": registers.MAGIC,
            "VERSION": isa.VERSION,
            "CONFIGURATION": self.config.digest,
            "CONTROL": control.put(reset=self.resetting),
            "STATUS": registers.REGISTERS["STATUS"].put(busy=self.busy, done=self.done, error=self.error),
            "ERROR": registers.REGISTERS["ERROR"].put(cause=self.cause, port=self.port),
            "ERROR_ADDRESS": self.error_address,
            "PROGRAM": self.program,
            "STEP": self.step,
            "SEED_LOW": self.seed[:32],
            "SEED_HIGH": self.seed[32:],
        }
        for counter in registers.Counter:
            value = getattr(self, counter.name.lower())
            values[f"{counter.name}_LOW"], values[f"{counter.name}_HIGH"] = value[:32], value[32:]

        with m.If(axi.rvalid & axi.rready):
            m.d.sync += axi.rvalid.eq(0)
        m.d.comb += axi.arready.eq(~axi.rvalid)
        with m.If(axi.arvalid & axi.arready):
            m.d.sync += [axi.rvalid.eq(1), axi.rdata.eq(0)]
            with m.Switch(axi.araddr[2:]):
                for name, register in registers.REGISTERS.items():
                    with m.Case(register.offset // 4):
                        m.d.sync += axi.rdata.eq(values[name])

        write = Signal()
        m.d.comb += [
            write.eq(axi.awvalid & axi.wvalid & ~axi.bvalid),
            axi.awready.eq(write),
            axi.wready.eq(write),
        ]
        m.d.sync += [self.start.eq(0), self.reset.eq(0)]
        with m.If(write):
            m.d.sync += axi.bvalid.eq(1)
            with m.Switch(axi.awaddr[2:]):
                with m.Case(control.offset // 4):
                    m.d.sync += [getattr(self, name).eq(axi.wdata[control.place(name)[0]]) for name in ("start", "reset")]
                targets = {
                    "PROGRAM": self.program,
                    "STEP": self.step,
                    "SEED_LOW": self.seed[:32],
                    "SEED_HIGH": self.seed[32:],
                }
                for name, target in targets.items():
                    with m.Case(registers.REGISTERS[name].offset // 4):
                        m.d.sync += target.eq(axi.wdata)
        with m.Elif(axi.bready):
            m.d.sync += axi.bvalid.eq(0)
        check_offer(m, platform, "s_axi_b", axi.bvalid, axi.bready, axi.bresp)
        check_offer(m, platform, "s_axi_r", axi.rvalid, axi.rready, Cat(axi.rresp, axi.rdata))
        return m
