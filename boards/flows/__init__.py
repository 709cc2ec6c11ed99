"""Flows from the generated files to a bitstream, each with tools of its own: `FLOWS` has them by name."""

from __future__ import annotations

from bnnedge.boards.flows.flow import Flow, FlowError
from bnnedge.boards.flows.openxc7 import OpenXC7
from bnnedge.boards.flows.vivado import Vivado

__all__ = ["FLOWS", "Flow", "FlowError"]

FLOWS: dict[str, Flow] = {flow.name: flow for flow in (Vivado(), OpenXC7())}
