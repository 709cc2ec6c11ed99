"""ONNX files that ask for more than a chain of layers: refused by name before qonnx or onnxruntime see them."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
pytest.importorskip("qonnx")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402
from peak import peak  # noqa: E402

from bnnedge import importer  # noqa: E402
from bnnedge.importer import graph, wire  # noqa: E402

CUSTOM = "qonnx.custom_op.general"


def model(*nodes: Any, shape: tuple[Any, ...] = (1, 64), **constants: Any) -> Any:
    """Of nodes from "x" to "y"."""
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, s) for name, s in (("x", shape), ("y", None))]
    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    made = helper.make_graph(list(nodes), "chain", ends[:1], ends[1:], tensors)
    imports = [helper.make_opsetid("", 13), helper.make_opsetid(CUSTOM, 1)]
    return helper.make_model(made, opset_imports=imports, ir_version=8)


def node(kind: str, *inputs: str, output: str = "y", **attributes: Any) -> Any:
    return helper.make_node(kind, inputs, [output], name=kind.lower(), **attributes)


def sound() -> Any:
    rng = np.random.default_rng(1)
    return model(
        node("BipolarQuant", "x", "one", output="s", domain=CUSTOM),
        node("BipolarQuant", "w", "one", output="b", domain=CUSTOM),
        node("MatMul", "s", "b"),
        w=rng.normal(0, 1, (64, 4)).astype(np.float32),
        one=np.float32(1),
    )


def loaded(tmp_path: Path, made: Any) -> Any:
    path = tmp_path / "model.onnx"
    path.write_bytes(made if isinstance(made, bytes) else made.SerializeToString())
    return importer.load(path, (-1, 1))


def refused(tmp_path: Path, made: Any, said: str) -> None:
    with pytest.raises(ValueError, match=rf"model file .*model.onnx: .*{said}") as caught:
        loaded(tmp_path, made)
    assert str(caught.value).isprintable()


def datatype(value: str) -> Callable[[Any], None]:
    def change(made: Any) -> None:
        annotation = made.graph.quantization_annotation.add(tensor_name="w")
        annotation.quant_parameter_tensor_names.add(key="finn_datatype", value=value)

    return change


def outside(made: Any) -> None:
    tensor = made.graph.initializer[0]
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../../etc/passwd")
    tensor.ClearField("raw_data")


def constant_outside(made: Any) -> None:
    made.graph.node[2].output[0] = "sums"
    constant = made.graph.node.add(op_type="Constant", output=["c"])
    made.graph.node.append(node("Add", "sums", "c"))
    tensor = constant.attribute.add(name="value", type=4).t
    tensor.CopyFrom(numpy_helper.from_array(np.zeros(3)))
    tensor.external_data.add(key="location", value="/etc/passwd")


def subgraph(made: Any) -> None:
    branch = helper.make_graph([], "branch", [], [])
    made.graph.node.append(helper.make_node("If", ["x"], ["z"], then_branch=branch, else_branch=branch))


def function(made: Any) -> None:
    made.functions.append(helper.make_function("evil", "MatMul", ["a"], ["b"], [], [helper.make_opsetid("", 13)]))


HOSTILE: list[tuple[Callable[[Any], object], str]] = [
    (lambda m: setattr(m.graph.node[2], "domain", "evilmod"), r"node 'matmul' \(MatMul\) is of domain 'evilmod'"),
    (lambda m: setattr(m.graph.node[0], "domain", "evilmod"), r"node 'bipolarquant' \(BipolarQuant\) is of domain 'evilmod'"),
    (lambda m: setattr(m.graph.node[2], "domain", CUSTOM), r"node 'matmul' \(MatMul\): the device has nothing like it"),
    (lambda m: setattr(m.graph.node[2], "op_type", "Evil\x1b[2J"), r"\(Evil\\x1b\[2J\): the device has nothing like it"),
    (function, "it has functions of its own"),
    (subgraph, r"it has a graph within a node \(If, Loop\)"),
    (outside, "constant 'w' is kept in another file, which is not read"),
    (constant_outside, r"node 'Constant_3' \(Constant\) is kept in another file"),
    (lambda m: m.graph.sparse_initializer.add(), "it has sparse constants"),
    (lambda m: m.training_info.add(), "it has a description of its training"),
    (lambda m: m.graph.node[2].attribute.add(name="evil", type=3, s=b"x"), "has an attribute 'evil' that is unknown here"),
    (lambda m: m.graph.initializer[0].dims.append(10**12), "constant 'w' shows 256,000,000,000,000 numbers"),
    (lambda m: setattr(m.graph.initializer[0], "data_type", 8), "constant 'w' is no array of plain numbers"),
    (lambda m: setattr(m.graph.initializer[1], "name", "w"), "constant 'w' is there twice"),
    (lambda m: m.graph.node[2].input.append("one"), "has 3 inputs and 1 outputs"),
    (lambda m: m.graph.node[2].input.__setitem__(1, "none"), "takes 'none', which no node before it makes"),
    (lambda m: m.graph.node[1].output.__setitem__(0, "s"), "makes 's', which is there already"),
    (lambda m: m.graph.node[2].output.__setitem__(0, "z"), "no node makes the output 'y'"),
    (lambda m: m.graph.input[0].type.tensor_type.shape.dim.add(dim_value=10**9), "input 'x' is of shape"),
    (lambda m: m.graph.input[0].type.tensor_type.ClearField("shape"), "input 'x' must have 2 to 4 axes"),
    (datatype("EVIL4"), "tensor 'w' has the finn_datatype 'EVIL4', which is not known here; there are BINARY, BIPOLAR"),
    (datatype("INT"), "finn_datatype 'INT'"),
    (datatype("INT99999999999"), "finn_datatype 'INT99999999999'"),
    (datatype("FIXED<4>x"), "finn_datatype 'FIXED<4>x'"),
    (datatype("\n\x1b[2J"), r"finn_datatype '\\n\\x1b\[2J'"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "said"), HOSTILE, ids=range(len(HOSTILE)))
def test_what_is_on_no_list_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Any], object], said: str
):
    """Nor is anything of it run: a module of the domain's name lies in the working folder."""
    (tmp_path / "evilmod.py").write_text("import os; os.mkdir('made')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    made = sound()
    change(made)
    refused(tmp_path, made, said)
    assert not (tmp_path / "made").exists()
    assert "evilmod" not in sys.modules


def test_what_is_sound_is_taken(tmp_path: Path):
    expected = loaded(tmp_path, sound()).checkpoint.state
    for value in ("BIPOLAR", "INT2", "UINT32", "FIXED<8,4>", "SCALEDINT<8>", "FLOAT32"):
        made = sound()
        datatype(value)(made)
        assert loaded(tmp_path, made).checkpoint.state.differences(expected) == []


def test_claims_are_struck_out(tmp_path: Path):
    """qonnx would evaluate the annotation, and make room for tensors of the shapes that are claimed."""
    made = sound()
    made.graph.value_info.append(helper.make_tensor_value_info("s", TensorProto.FLOAT, (10**6, 10**6)))
    made.graph.value_info.append(helper.make_tensor_value_info("nowhere", TensorProto.FLOAT, (10**6, 10**6)))
    made.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", TensorProto.FLOAT, (10**6, 10**6)))
    made.metadata_props.add(key="exec_mode", value="evil")
    for key in ("tensor_layout", "tensor_sparsity"):
        annotation = made.graph.quantization_annotation.add(tensor_name="w")
        annotation.quant_parameter_tensor_names.add(key=key, value=f"__import__('os').mkdir({str(tmp_path / 'made')!r})")
    assert loaded(tmp_path, made).checkpoint.network.classes == 4
    assert os.listdir(tmp_path) == ["model.onnx"]


@pytest.mark.parametrize("batch", [1, "N", 0, -1, 16, None])
def test_batches_become_one(tmp_path: Path, batch: Any):
    made = sound()
    made.graph.input[0].CopyFrom(helper.make_tensor_value_info("x", TensorProto.FLOAT, (batch, 64)))
    assert loaded(tmp_path, made).checkpoint.network.input_shape == (64,)


def test_what_no_output_needs_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Nor is anything of it loaded, whatever its domain."""
    (tmp_path / "evilmod.py").write_text("import os; os.mkdir('made')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    made = sound()
    made.opset_import.add(domain="evilmod", version=1)
    made.graph.node.append(helper.make_node("Evil", ["x"], ["nothing"], domain="evilmod"))
    made.graph.initializer.append(numpy_helper.from_array(np.zeros(3, np.float32), "unused"))
    made.graph.input.append(helper.make_tensor_value_info("flag", TensorProto.BOOL, ()))
    assert loaded(tmp_path, made).checkpoint.state.differences(loaded(tmp_path, sound()).checkpoint.state) == []
    assert not (tmp_path / "made").exists()


def test_shapes_that_a_graph_computes(tmp_path: Path):
    """As older exporters write `x.view(x.shape[0], -1)`."""
    rng = np.random.default_rng(1)
    made = model(
        node("Constant", output="zero", value=numpy_helper.from_array(np.array(0))),
        node("Shape", "x", output="shape"),
        node("Gather", "shape", "zero", output="batch", axis=0),
        node("Unsqueeze", "batch", "axes", output="first"),
        node("Constant", output="rest", value_ints=[-1]),
        node("Concat", "first", "rest", output="wanted", axis=0),
        node("Reshape", "x", "wanted", output="flat"),
        node("BipolarQuant", "w", "one", output="b", domain=CUSTOM),
        node("MatMul", "flat", "b"),
        shape=("N", 4, 4, 4),
        axes=np.array([0]),
        w=rng.normal(0, 1, (64, 4)).astype(np.float32),
        one=np.float32(1),
    )
    assert loaded(tmp_path, made).checkpoint.network.input_shape == (4, 4, 4)


BIG = np.zeros(60_000, np.float32)
REAL = {"a": 1.0, "b": 0.0, "c": 4.0}
QUANT = {"domain": CUSTOM, "signed": 1, "narrow": 0, "rounding_mode": "ROUND"}
EVIL = {**QUANT, "rounding_mode": "EVIL"}


@pytest.mark.parametrize(
    ("nodes", "constants", "said"),
    [
        ([node("Add", "a", "b")], {"a": BIG[None], "b": BIG[:, None]}, r"node 'add' \(Add\) makes 3,600,000,000 numbers"),
        ([node("BipolarQuant", "a", "b", domain=CUSTOM)], {"a": BIG[None], "b": BIG[:, None]}, "larger than what it gets"),
        ([node("MatMul", "a", "b")], {"a": BIG[:, None], "b": BIG[None]}, "makes 3,600,000,000 numbers"),
        ([node("Concat", "a", "a", axis=0)], {"a": BIG}, "is no part of a shape"),
        ([node("Expand", "x", "a")], {"a": np.array([10**6, 64])}, "nothing like it"),
        ([node("ConstantOfShape", "a")], {"a": np.array([10**6, 10**6])}, "nothing like it"),
        ([node("Reshape", "x", "a")], {"a": np.array([10**6, 64])}, "it has not as many numbers as"),
        ([node("Reshape", "x", "a")], {"a": np.array([-1, -1])}, "out of range"),
        ([node("Conv", "x", "a", pads=[0, 0, 10**6, 10**6])], {"a": np.ones((2, 1, 2, 2), np.float32)}, "pads are out of range"),
        ([node("Conv", "x", "a", strides=[0, 0])], {"a": np.ones((2, 1, 2, 2), np.float32)}, "strides or dilations are out of"),
        ([node("Conv", "x", "a", pads=[2**40] * 4)], {"a": np.ones((2, 1, 2, 2), np.float32)}, "'pads' that is out of range"),
        ([node("MaxPool", "x", kernel_shape=[9, 9])], {}, r"makes .* numbers|negative"),
        ([node("Transpose", "x", perm=[0, 0, 1, 1])], {}, "is no order of the axes"),
        ([node("Flatten", "x", axis=9)], {}, "axis is out of range"),
        ([node("Quant", "x", "a", "b", "c", **QUANT)], {"a": 1.0, "b": 0.0, "c": 10.0**9}, "one whole number in 1..32"),
        ([node("Quant", "x", "a", "b", "c", **QUANT)], {"a": 1.0, "b": 0.0, "c": -4.0}, "bit width must be one whole number"),
        ([node("Quant", "x", "a", "b", "c", **QUANT)], {"a": 1.0, "b": 0.0, "c": 2.5}, "bit width must be one whole number"),
        ([node("Quant", "x", "a", "b", "c", **QUANT)], {"a": np.nan, "b": 0.0, "c": 4.0}, "finite, and the scale positive"),
        ([node("Quant", "x", "a", "b", "c", **QUANT)], {"a": 0.0, "b": 0.0, "c": 4.0}, "finite, and the scale positive"),
        ([node("Quant", "x", "a", "b", "c", **EVIL)], REAL, "rounding_mode must be"),
        ([node("Quant", "x", "a", "b", "c", **{**QUANT, "signed": "yes"})], REAL, "'signed'"),
        ([node("Mul", "x", "a")], {"a": np.float32(np.inf)}, "has numbers that are infinite or none"),
        ([node("Constant")], {}, "must have one value"),
    ],
    ids=range(23),
)  # fmt: skip
def test_shapes_and_numbers(tmp_path: Path, nodes: list[Any], constants: dict[str, Any], said: str):
    constants = {name: np.float32(value) if isinstance(value, float) else value for name, value in constants.items()}
    refused(tmp_path, model(*nodes, shape=(1, 1, 8, 8), **constants), said)


def test_files_of_many_parts(tmp_path: Path):
    """Two bytes for a node, of which the library makes an object of a hundred."""
    octets = b"\x3a" + bytes([0x80 | (2 * 10**6 & 127), 0x80 | (2 * 10**6 >> 7 & 127), 2 * 10**6 >> 14]) + b"\x0a\0" * 10**6
    path = tmp_path / "parts.onnx"
    path.write_bytes(octets)
    libraries = "from bnnedge import importer\nimport onnx, qonnx.util.cleanup"
    said, memory = peak(libraries, "importer.load(sys.argv[1], (0, 1))", path)
    assert "it has more than 50,000 parts" in said
    assert memory < 20


def test_every_beginning_is_refused(tmp_path: Path):
    octets = sound().SerializeToString()
    for length in range(0, len(octets), 7):
        with pytest.raises(ValueError, match=r"model file .*model.onnx: "):
            loaded(tmp_path, octets[:length])


def test_readers_and_lists_agree():
    from bnnedge.importer import chain, functions, operators

    read = {*chain.READERS, *functions.FUNCTIONS, *functions.CONSTANT, *operators.MOVES}
    of_shapes = {"Shape", "Gather", "Concat", "Slice", "Constant"}
    assert read | of_shapes == set(graph.OPERATORS)
    wire.check(b"")
