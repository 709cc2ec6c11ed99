"""The top for other people's designs: whole AXI buses, a reset that is active low, and attributes that Vivado reads."""

from __future__ import annotations

from bnnedge.hw.embed.ports import BUSES, PORTS, Bus, Port

MODULE = "bnnedge_axi"
ACCELERATOR = "accelerator"
_UNUSED = "  // verilator lint_{} UNUSEDSIGNAL"
_KIND = {"aximm": "xilinx.com:interface:aximm:1.0"}


def interface(bus: Bus) -> str:
    """The name of the bus's kind, as vendor:library:name:version."""
    return _KIND.get(bus.kind, f"xilinx.com:signal:{bus.kind}:1.0")


def verilog() -> str:
    """Verilog-2001 of module MODULE, which contains the accelerator; the same for all configurations."""
    about = {port.name: (bus, port is bus.ports[0]) for bus in BUSES for port in bus.ports}
    lines = [
        "// The accelerator with standard buses, for a design of your own: docs/how-to/embed.md.",
        "// Attributes tell Vivado's IP integrator which ports belong together; they change no hardware.",
        f"module {MODULE} (",
    ]
    for port in PORTS:
        if port.name in about:
            bus, first = about[port.name]
            if first:
                listed = ", ".join(f"{key} {value}" for key, value in bus.parameters.items())
                lines.append(f'  (* X_INTERFACE_PARAMETER = "XIL_INTERFACENAME {bus.name}, {listed}" *)')
            lines.append(f'  (* X_INTERFACE_INFO = "{interface(bus)} {bus.name} {port.logical}" *)')
        declared = f"  {_declared(port)}{'' if port is PORTS[-1] else ','}"
        ignored = not port.output and not port.inner and port.name != "aresetn"
        lines += [_UNUSED.format("off"), declared, _UNUSED.format("on")] if ignored else [declared]
    lines += [");", f"  {ACCELERATOR} {ACCELERATOR} ("]
    joined = [(port.inner, port.name) for port in PORTS if port.inner] + [("rst", "~aresetn")]
    lines += [f"    .{inner}({outer}){',' * (inner != 'rst')}" for inner, outer in joined]
    lines.append("  );")
    lines += [f"  assign {port.name} = {port.bits}'d{port.value};" for port in PORTS if port.output and not port.inner]
    return "\n".join([*lines, "endmodule", ""])


def _declared(port: Port) -> str:
    width = f"[{port.bits - 1}:0] " if port.vector else ""
    return f"{'output' if port.output else 'input'} wire {width}{port.name}"
