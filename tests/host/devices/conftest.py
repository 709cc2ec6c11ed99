"""The accelerator's Verilog, generated once a session."""

from __future__ import annotations

import pytest

from bnnedge import configuration


@pytest.fixture(scope="session")
def verilog() -> str:
    """That of `sim-small`."""
    from bnnedge.hw.generate import to_verilog

    return to_verilog(configuration("sim-small"), checks=True)
