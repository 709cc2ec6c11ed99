"""A network as an ONNX model of standard operators, with the device's logits in any runtime that keeps float32.

What is exact, and why:

* Pixel codes, signs and weights are whole numbers, and so are all products and sums of them. A sum, whole or in part and
  in whatever order, is at most `Folded.bound`, which `fold` keeps below 2**21. float32 holds every whole number up to
  2**24, so that no MatMul and no Conv rounds; nor do the thresholds, which saturate at the bound. The zeros with which
  Conv pads contribute nothing, as the arithmetic demands.
* The last layer's product needs more: |64 y - mean| < 2**28, as y has 22 bits and mean 28, both signed, times reciprocal
  <= 1477 * 2**14 is below 2**52.6; with 2**21 added it is still a whole number below 2**53, which float64 holds. The
  division by 2**22 changes nothing but the exponent; Floor of it is the shift that rounds down.
* The logits, whole numbers below 2**14, are float32 again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bnnedge import formats
from bnnedge.export.folded import SCORE_LIMIT, SCORE_SHIFT, Folded, FoldedLayer

if TYPE_CHECKING:
    from onnx import ModelProto

PRODUCER = "bnnedge"  # as a file names what wrote it

# Of ONNX 1.8, 2020: old enough for most runtimes. GreaterOrEqual came with operator set 12.
_OPSET, _IR_VERSION = 13, 7
_QONNX = "qonnx.custom_op.general"


def encode(folded: Folded, *, bipolar: bool = False) -> bytes:
    """The bytes of the file; ModuleNotFoundError without the package onnx.

    bipolar: let signs and weights be outputs of QONNX's BipolarQuant, by which tools for binary networks know them.
    """
    return model(folded, bipolar=bipolar).SerializeToString()


def model(folded: Folded, *, bipolar: bool = False) -> ModelProto:
    """The model: `image`, uint8 (N, *input_shape), to `logits`, float32 (N, classes), as `Folded` has them; N is 1 if bipolar."""
    from onnx import TensorProto, checker, helper

    graph = _Graph(bipolar)
    x = graph.pixels(folded)
    for i, layer in enumerate(folded.layers):
        x = graph.sums(x, layer, i)
        if i < len(folded.thresholds):
            x = graph.signs(x, layer, folded.thresholds[i], i)
    graph.logits(x, folded)
    network = folded.network
    batch = 1 if bipolar else "N"  # qonnx takes an open batch for one of no images
    image = helper.make_tensor_value_info("image", TensorProto.UINT8, [batch, *network.input_shape])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, [batch, network.classes])
    made = helper.make_model(
        helper.make_graph(graph.nodes, network.name, [image], [logits], graph.constants),
        producer_name=PRODUCER,
        opset_imports=[helper.make_opsetid("", _OPSET), *([helper.make_opsetid(_QONNX, 1)] if bipolar else [])],
        ir_version=_IR_VERSION,
    )
    checker.check_model(made, full_check=True)
    return made


class _Graph:
    """Nodes and constants, as they are added; each method returns the name of its output.

    bipolar: as in `encode`.
    spatial: whether what was added last is a map (N, C, H, W), and not (N, K).
    """

    def __init__(self, bipolar: bool) -> None:
        self.bipolar, self.spatial = bipolar, False
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def add(self, operator: str, output: str, *inputs: str | np.ndarray, **attributes: Any) -> str:
        """Add a node; arrays among its inputs become constants."""
        from onnx import helper, numpy_helper

        names = []
        for place, value in enumerate(inputs):
            if isinstance(value, np.ndarray):
                self.constants.append(numpy_helper.from_array(value, f"{output}.{place}"))
                value = f"{output}.{place}"
            names.append(value)
        self.nodes.append(helper.make_node(operator, names, [output], name=output, **attributes))
        return output

    def pixels(self, folded: Folded) -> str:
        """Codes of the pixels: (N, K) for a dense layer, (N, C, H, W) for a convolution."""
        first, planes = folded.layers[0].geometry, folded.input_planes
        x = self.add("Cast", "pixels", "image", to=_type(np.float32))
        if planes < formats.MAX_PLANES:
            x = self.add("Mul", "fraction", x, np.array(0.5 ** (formats.MAX_PLANES - planes), np.float32))
            x = self.add("Floor", "top", x)
        x = self.add("Mul", "twice", x, np.array(2, np.float32))
        x = self.add("Sub", "codes", x, np.array(2**planes - 1, np.float32))
        self.spatial = first.pixels
        if not first.pixels:
            return self.add("Flatten", "input", x, axis=1)
        x = self.add("Reshape", "map", x, np.array([-1, first.height, first.width, first.channels], np.int64))
        return self.add("Transpose", "input", x, perm=[0, 3, 1, 2])

    def quantised(self, output: str, x: str | np.ndarray) -> str:
        """+1 where x >= 0, else -1."""
        return self.add("BipolarQuant", output, x, np.array(1, np.float32), domain=_QONNX)

    def weight(self, values: np.ndarray, i: int) -> str | np.ndarray:
        """Weights of +1 and -1, as an input of a node."""
        values = np.ascontiguousarray(values)
        return self.quantised(f"weight_{i + 1}", values) if self.bipolar else values

    def sums(self, x: str, layer: FoldedLayer, i: int) -> str:
        """Sums of a layer, pooled: (N, M), or (N, M, h, w) of a convolution."""
        g = layer.geometry
        weight = np.where(layer.sign, np.float32(1), np.float32(-1)).reshape(g.kernel_y, g.kernel_x, g.channels, g.filters)
        if layer.dense:
            # Flatten has a map's values in the order (channel, y, x).
            x = self.add("Flatten", f"flat_{i + 1}", x, axis=1) if self.spatial else x
            self.spatial = False
            matrix = weight.transpose(2, 0, 1, 3).reshape(g.fan_in, g.filters)
            return self.add("MatMul", f"sums_{i + 1}", x, self.weight(matrix, i))
        y = self.add(
            "Conv",
            f"sums_{i + 1}",
            x,
            self.weight(weight.transpose(3, 2, 0, 1), i),
            kernel_shape=[g.kernel_y, g.kernel_x],
            strides=[g.stride, g.stride],
            pads=[g.pad_y, g.pad_x, *layer.pad_after],
        )
        return self.add("MaxPool", f"pooled_{i + 1}", y, kernel_shape=[2, 2], strides=[2, 2]) if layer.pooled else y

    def signs(self, y: str, layer: FoldedLayer, threshold: np.ndarray, i: int) -> str:
        """The activations of sums: +1 from the channel's threshold on, -1 below."""
        values = threshold.astype(np.float32).reshape((-1,) if layer.dense else (-1, 1, 1))
        if self.bipolar:
            return self.quantised(f"signs_{i + 1}", self.add("Sub", f"above_{i + 1}", y, values))
        active = self.add("GreaterOrEqual", f"active_{i + 1}", y, values)
        return self.add("Where", f"signs_{i + 1}", active, np.array(1, np.float32), np.array(-1, np.float32))

    def logits(self, y: str, folded: Folded) -> str:
        """The last layer's logits of its sums."""
        v = self.add("Cast", "wide", y, to=_type(np.float64))
        v = self.add("Mul", "scaled", v, np.array(1 << formats.STATISTICS, np.float64))
        v = self.add("Sub", "centred", v, folded.mean.astype(np.float64))
        v = self.add("Mul", "product", v, folded.reciprocal.astype(np.float64))
        v = self.add("Add", "rounding", v, np.array(1 << SCORE_SHIFT - 1, np.float64))
        v = self.add("Mul", "shifted", v, np.array(0.5**SCORE_SHIFT, np.float64))
        v = self.add("Floor", "whole", v)
        v = self.add("Clip", "clipped", v, np.array(-SCORE_LIMIT, np.float64), np.array(SCORE_LIMIT, np.float64))
        v = self.add("Add", "scores", v, folded.offset.astype(np.float64))
        return self.add("Cast", "logits", v, to=_type(np.float32))


def _type(dtype: type[np.generic]) -> int:
    from onnx import helper

    return helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
