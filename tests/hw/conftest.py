"""What tests of units share: registers without a reset that begin with random bits."""

from __future__ import annotations

import random
from typing import Any

import pytest
from amaranth import Signal


@pytest.fixture
def left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give each signal with `reset_less` an initial value of its own: what a run before left in it must not count."""
    draw, build = random.Random(1), Signal.__init__

    def dirty(self: Signal, *arguments: Any, **options: Any) -> None:
        build(self, *arguments, **options)
        if self.reset_less:
            self._init = draw.getrandbits(len(self)) - (1 << (len(self) - 1) if self.shape().signed else 0)

    monkeypatch.setattr(Signal, "__init__", dirty)
