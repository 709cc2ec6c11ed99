"""What a run leaves in memory for the host: reports of steps, and logits; what of it can't be true."""

from __future__ import annotations

import numpy as np

from bnnedge import formats
from bnnedge.devices.device import DeviceError, StepResult

# What stands where a run is to leave results, so that none of an earlier run is taken for its own: no loss, no logit.
NO_REPORT, NO_LOGIT = 0xFFFF_FFFF, -0x8000


def results_of(reports: np.ndarray, batch: int) -> list[StepResult]:
    """What the reports (steps, 4) of a run say; DeviceError if it has not written them, or they can't be true."""
    results = [StepResult(int(loss), int(hits), int(low) | int(high) << 32) for loss, hits, low, high in reports]
    clock = 0
    for step, result in enumerate(results):
        if result.loss >= batch << formats.LOGIT_BITS + 1 or result.hits > batch or not clock < result.cycles < 1 << 63:
            unwritten = bool((reports[step] == NO_REPORT).all())
            said = "was not written" if unwritten else f"can't be true ({result.hits} hits of {batch}, {result})"
            raise DeviceError(
                f"the report of step {step + 1} of {len(results)} {said}: the accelerator and the host do not see the same "
                "memory, or someone else uses the accelerator"
            )
        clock = result.cycles
    return results


def check_logits(logits: np.ndarray) -> None:
    """DeviceError if logits (N, classes) were not written, or can't be true."""
    wrong = np.abs(logits.astype(np.int32)) > 1 << formats.LOGIT_BITS
    if wrong.any():
        raise DeviceError(
            f"the logits of {np.count_nonzero(wrong.any(1))} of {len(logits)} images were not written, or can't be true: the "
            "accelerator and the host do not see the same memory, or someone else uses the accelerator"
        )
