"""Windows and padding of ONNX, held against those of the device and of onnxruntime."""

from __future__ import annotations

import numpy as np
import pytest

from bnnedge.importer import operators
from bnnedge.layers import Conv2D


@pytest.mark.parametrize("side", range(4, 12))
@pytest.mark.parametrize(("kernel", "stride"), [(1, 1), (2, 1), (3, 1), (3, 2), (5, 2), (7, 1)])
def test_auto_pad_as_the_device_pads(side: int, kernel: int, stride: int):
    layer = Conv2D(4, kernel, stride, "same")
    upper = {"auto_pad": b"SAME_UPPER", "strides": [stride] * 2}
    top, left, bottom, right = operators.pads(upper, (side, side), (kernel, kernel))
    assert top == left == layer.before(side)
    assert bottom == right
    assert (side + top + bottom - kernel) // stride + 1 == layer.outputs(side)
    lower = operators.pads({**upper, "auto_pad": b"SAME_LOWER"}, (side, side), (kernel, kernel))
    assert lower == (bottom, right, top, left)


@pytest.mark.parametrize("mode", ["NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"])
@pytest.mark.parametrize(
    ("sides", "size", "strides"), [((7, 6), (3, 3), (1, 1)), ((8, 5), (2, 3), (2, 1)), ((9, 9), (4, 2), (2, 2))]
)
def test_auto_pad_as_onnxruntime_pads(mode: str, sides: tuple[int, int], size: tuple[int, int], strides: tuple[int, int]):
    onnx, runtime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    helper = onnx.helper
    weight = np.random.default_rng(1).normal(0, 1, (1, 1, *size)).astype(np.float32)
    image = np.random.default_rng(2).normal(0, 1, (1, 1, *sides)).astype(np.float32)
    around = operators.pads({"auto_pad": mode.encode(), "strides": list(strides)}, sides, size)

    def made(**attributes: object) -> np.ndarray:
        node = helper.make_node("Conv", ["x", "w"], ["y"], strides=strides, **attributes)
        ends = [helper.make_tensor_value_info(name, 1, None) for name in "xwy"]
        model = helper.make_model(
            helper.make_graph([node], "one", ends[:2], ends[2:]), opset_imports=[helper.make_opsetid("", 13)], ir_version=8
        )
        session = runtime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        return session.run(None, {"x": image, "w": weight})[0]

    np.testing.assert_array_equal(made(auto_pad=mode), made(pads=around))


@pytest.mark.parametrize(
    ("fields", "values", "said"),
    [
        ({"mode": b"edge"}, (np.zeros(4),), "pads with zeros"),
        ({}, (np.array([0, 0, 0, -1]),), "before and behind each axis"),
        ({}, (np.zeros(4), None, np.array([0])), "not for some of them"),
        ({}, (np.zeros(4), np.array(1.0)), "pads with zeros"),
        ({}, (np.zeros(3),), "before and behind each axis"),
        ({}, (), "before and behind each axis"),
    ],
    ids=range(6),
)
def test_margins_are_of_zeros(fields: dict, values: tuple, said: str):
    with pytest.raises(ValueError, match=said):
        operators.margins(fields, 2, *values)
