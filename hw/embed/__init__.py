"""What takes the accelerator into a design of somebody else's: a top with standard buses, and its description for tools.

docs/how-to/embed.md says what they are for.
"""

from __future__ import annotations

from bnnedge.configuration import Configuration
from bnnedge.hw.embed import fusesoc, ipxact, wrapper

WRAPPER, COMPONENT, CORE = f"{wrapper.MODULE}.v", "component.xml", f"{wrapper.MODULE}.core"


def files(config: Configuration, accelerator: str, waivers: str) -> dict[str, str]:
    """Texts by file name; beside them lie the accelerator's Verilog and the waivers for its lint, in files of these names."""
    sources = [accelerator, WRAPPER]
    return {
        WRAPPER: wrapper.verilog(),
        COMPONENT: ipxact.component(config, sources),
        CORE: fusesoc.core(config, sources, waivers),
    }
