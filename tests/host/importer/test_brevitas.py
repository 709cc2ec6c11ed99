from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("brevitas", reason="`make test-libraries` installs Brevitas")

import brevitas.nn as qnn
import torch
from brevitas.export import export_qonnx
from brevitas.quant import (
    Int8ActPerTensorFixedPoint,
    SignedBinaryActPerTensorConst,
    SignedBinaryWeightPerTensorConst,
)
from foreign import agree, statistics
from torch import nn

from bnnedge import Trainer, export, importer

WEIGHT, SIGN = {"bias": False, "weight_quant": SignedBinaryWeightPerTensorConst}, {"act_quant": SignedBinaryActPerTensorConst}


class Centred(nn.Module):
    """Pixels 0..1 become -1..1, as in Brevitas's example networks."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 2 * x - 1


def tfc() -> nn.Module:
    """Like Brevitas's TFC 1W1A: binarised pixels, dense layers."""
    sign = qnn.QuantIdentity
    return nn.Sequential(
        Centred(), sign(**SIGN), nn.Flatten(),
        qnn.QuantLinear(64, 32, **WEIGHT), nn.BatchNorm1d(32), sign(**SIGN), nn.Dropout(0.2),
        qnn.QuantLinear(32, 24, **WEIGHT), nn.BatchNorm1d(24), sign(**SIGN),
        qnn.QuantLinear(24, 10, **WEIGHT), nn.BatchNorm1d(10),
    )  # fmt: skip


def cnv() -> nn.Module:
    """Like Brevitas's CNV 1W1A: pixels of 8 bits, valid convolutions, signs pooled, a map flattened."""
    sign = qnn.QuantIdentity
    return nn.Sequential(
        Centred(), qnn.QuantIdentity(act_quant=Int8ActPerTensorFixedPoint, min_val=-1, max_val=1 - 2**-7),
        qnn.QuantConv2d(3, 8, 3, **WEIGHT), nn.BatchNorm2d(8), sign(**SIGN),
        qnn.QuantConv2d(8, 12, 3, **WEIGHT), nn.BatchNorm2d(12), sign(**SIGN), nn.MaxPool2d(2), nn.Flatten(),
        qnn.QuantLinear(12 * 3 * 3, 20, **WEIGHT), nn.BatchNorm1d(20), sign(**SIGN),
        qnn.QuantLinear(20, 5, **WEIGHT), nn.BatchNorm1d(5),
    )  # fmt: skip


@pytest.mark.parametrize(("make", "shape"), [(tfc, (1, 8, 8)), (cnv, (3, 10, 10))])
def test_exported_model_predicts_the_same(tmp_path: Path, make, shape: tuple[int, int, int]):
    torch.manual_seed(1)
    model = make().eval()
    rng = np.random.default_rng(2)
    fan_in = 0
    for layer in model:
        if isinstance(layer, (nn.BatchNorm1d, nn.BatchNorm2d)):
            drawn = statistics(rng, layer.num_features, fan_in)
            layer.weight.data, layer.bias.data = torch.tensor(drawn["gamma"]), torch.tensor(drawn["beta"])
            # Brevitas's weights are +-0.1 by default.
            layer.running_mean, layer.running_var = torch.tensor(drawn["mean"]) * 0.1, torch.tensor(drawn["variance"]) * 0.01
        elif hasattr(layer, "weight"):
            fan_in = layer.weight[0].numel()
    export_qonnx(model, torch.rand(1, *shape), str(tmp_path / "model.onnx"))
    imported = importer.load(tmp_path / "model.onnx", (0, 1))
    binary_pixels = make is tfc
    assert imported.checkpoint.settings.input_planes == (1 if binary_pixels else 8)

    def library(x: np.ndarray) -> np.ndarray:
        x = x[:, None] if x.ndim == 3 else x.transpose(0, 3, 1, 2)
        with torch.no_grad():
            made = model(torch.tensor(np.ascontiguousarray(x)))
        return np.asarray(getattr(made, "value", made))

    if binary_pixels:
        agree(imported, library)
    else:  # Brevitas rounds pixels to multiples of 1/128
        assert "rounds pixels otherwise" in imported.notes[0]
        images = rng.integers(0, 256, (300, 10, 10, 3), dtype=np.uint8)
        with Trainer.load(imported.checkpoint) as trainer:
            same = trainer.predict(images).argmax(1) == library((images / 255).astype(np.float32)).argmax(1)
        assert same.mean() > 0.9


def test_a_model_that_has_not_been_trained(tmp_path: Path):
    torch.manual_seed(3)
    model = tfc().eval()
    export_qonnx(model, torch.rand(1, 1, 8, 8), str(tmp_path / "model.onnx"))
    imported = importer.load(tmp_path / "model.onnx", (0, 1))
    images = np.random.default_rng(4).integers(0, 256, (300, 8, 8), dtype=np.uint8)
    with torch.no_grad():
        made = model(torch.tensor((images[:, None] / 255).astype(np.float32)))
    theirs = np.asarray(getattr(made, "value", made))
    # Sums of +-0.1 in float32: one that should be 0 is 1e-8, of either sign, and all that follows may change.
    ours = export.fold(imported.checkpoint).infer(images)
    lost = ours.max(1) - ours[np.arange(300), theirs.argmax(1)]
    assert np.mean(lost <= 3) > 0.5
