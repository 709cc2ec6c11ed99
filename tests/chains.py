"""ONNX graphs for tests, as PyTorch, tf2onnx, Brevitas and FINN write them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from foreign import statistics

CUSTOM = "qonnx.custom_op.general"
FLOAT, UINT8, INT8, INT64, FLOAT16, DOUBLE = 1, 2, 3, 7, 10, 11
F = np.float32
ONE, NONE = F(1), F(0)
THRESHOLD = {"domain": CUSTOM, "out_dtype": "BIPOLAR", "out_scale": 2.0, "out_bias": -1.0}


class Graph:
    """A chain of nodes of an ONNX model, from "image" on; weights are real numbers behind a BipolarQuant, or +c and -c.

    shape: of one image. last: what was made last. nodes, constants: so far.
    """

    def __init__(self, *shape: int, seed: int = 4) -> None:
        self.rng = np.random.default_rng(seed)
        self.shape, self.last = shape, "image"
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.fan_in = 1

    def constant(self, value: Any) -> str:
        from onnx import numpy_helper

        name = f"constant{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def node(self, kind: str, *inputs: Any, outputs: int = 1, **attributes: Any) -> str:
        """Add a node of these inputs, arrays as constants; the name of its first output."""
        from onnx import helper

        names = [value if isinstance(value, str) else self.constant(value) for value in inputs]
        made = [f"tensor{len(self.nodes)}.{place}" if place else f"tensor{len(self.nodes)}" for place in range(outputs)]
        self.nodes.append(helper.make_node(kind, names, made, name=f"{kind.lower()}{len(self.nodes)}", **attributes))
        return made[0]

    def add(self, kind: str, *more: Any, first: bool = True, **attributes: Any) -> Graph:
        """Let a node take what was made last, and these."""
        self.last = self.node(kind, *([self.last, *more] if first else [*more, self.last]), **attributes)
        return self

    def sign(self, scale: Any = 1) -> Graph:
        return self.add("BipolarQuant", np.float32(scale), domain=CUSTOM)

    def weight(self, *shape: int, scale: float = 0.1, transpose: bool = False) -> str:
        """Real weights behind a BipolarQuant, as Brevitas exports them."""
        self.fan_in = int(np.prod(shape[1:]))
        made = self.node("BipolarQuant", self.rng.normal(0, 0.2, shape).astype(np.float32), np.float32(scale), domain=CUSTOM)
        return self.node("Transpose", made, perm=[1, 0]) if transpose else made

    def signs(self, *shape: int, outputs: int = 0) -> np.ndarray:
        """+c and -c, with a c for each output, which are along axis `outputs`: as exporters fold them."""
        self.fan_in = int(np.prod(shape) // shape[outputs])
        each = [-1 if axis == outputs % len(shape) else 1 for axis in range(len(shape))]
        sizes = self.rng.uniform(0.1, 1, shape[outputs]).reshape(each)
        return (self.rng.choice([-1, 1], shape) * sizes).astype(np.float32)

    def norm(self, channels: int, weight_scale: float = 0.1, signed: bool = True, **attributes: Any) -> Graph:
        drawn = statistics(self.rng, channels, self.fan_in, signed)
        mean, variance = drawn["mean"] * np.float32(weight_scale), drawn["variance"] * np.float32(weight_scale**2)
        return self.add("BatchNormalization", drawn["gamma"], drawn["beta"], mean, variance, epsilon=1e-5, **attributes)

    def model(self, batch: Any = 1, type: int = 1, opset: int = 13, outputs: tuple[str, ...] = (), made: int = 1) -> Any:
        """A ModelProto; batch: a number, a name, None; type, made: of the image and the output, as TensorProto numbers them."""
        from onnx import helper

        image = helper.make_tensor_value_info("image", type, (batch, *self.shape))
        ends = [helper.make_tensor_value_info(name, made, None) for name in outputs or (self.last,)]
        graph = helper.make_graph(self.nodes, "chain", [image], ends, self.constants)
        imports = [helper.make_opsetid("", opset), helper.make_opsetid(CUSTOM, 1)]
        return helper.make_model(graph, opset_imports=imports, ir_version=8)

    def write(self, path: Path, **options: Any) -> Path:
        import onnx

        onnx.save(self.model(**options), path)
        return path


def runs(path: Path, pixels: tuple[float, float] = (0, 1), moved: Callable[[np.ndarray], np.ndarray] | None = None) -> Any:
    """What `agree` wants: onnxruntime, or qonnx image by image, of a file as it was written.

    moved: brings images (N, height, width, channels) into the model's order; unless given, a map's channels come first.
    """
    import onnx

    model = onnx.load(path)
    given = next(tensor for tensor in model.graph.input if tensor.name == "image").type.tensor_type
    shape = [dim.dim_value for dim in given.shape.dim]
    dtype = onnx.helper.tensor_dtype_to_np_dtype(given.elem_type)
    batch = shape[0] = max(1, shape[0])
    given.shape.dim[0].dim_value = batch

    def fed(x: np.ndarray) -> list[np.ndarray]:
        x = moved(x) if moved else x.transpose(0, 3, 1, 2) if x.ndim == 4 and len(shape) == 4 else x
        values = pixels[0] + (pixels[1] - pixels[0]) * x.astype(np.float64)
        values = np.rint(values) if np.dtype(dtype).kind in "iu" else values
        return np.split(values.astype(dtype).reshape(-1, *shape[1:]), len(x) // batch)

    if all(node.domain == "" for node in model.graph.node):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        session = onnxruntime.InferenceSession(model.SerializeToString(), options)
        return lambda x: np.concatenate([session.run(None, {"image": part})[0].reshape(batch, -1) for part in fed(x)])
    from qonnx.core.modelwrapper import ModelWrapper
    from qonnx.core.onnx_exec import execute_onnx
    from qonnx.transformation.infer_shapes import InferShapes

    wrapper = ModelWrapper(model).transform(InferShapes())
    return lambda x: np.concatenate(
        [next(iter(execute_onnx(wrapper, {"image": part}).values())).reshape(batch, -1) for part in fed(x)]
    )


def sign(graph: Graph) -> Graph:
    """`torch.where(x >= 0, 1.0, -1.0)`."""
    return graph.add("GreaterOrEqual", NONE).add("Where", ONE, -ONE)


def begun(*shape: int) -> Graph:
    """Of 32 numbers: flattened, dense, 24 sums."""
    graph = Graph(*shape).add("Flatten", axis=1)
    # An offset: sums of 0 would be signs by chance of rounding.
    return graph.add("Gemm", graph.signs(24, 32), graph.rng.normal(0, 1, 24).astype(F), transB=1)


def ended(graph: Graph, inputs: int = 24, classes: int = 5) -> Graph:
    return graph.add("MatMul", graph.signs(inputs, classes, outputs=1)).norm(classes, 0.5)


def dense(middle: Callable[[Graph], Any] = sign) -> Graph:
    graph = begun(32)
    middle(graph)
    return ended(graph)


def normed(middle: Callable[[Graph], Any] = sign) -> Graph:
    graph = begun(32).norm(24, 0.5)
    middle(graph)
    return ended(graph)


def conv(graph: Graph, channels: int = 2, filters: int = 6, **attributes: Any) -> Graph:
    return graph.add("Conv", graph.signs(filters, channels, 3, 3), **{"kernel_shape": [3, 3], **attributes})


def convolved(front: Callable[[Graph], Any] = lambda g: g, shape: tuple[int, ...] = (2, 7, 6), **attributes: Any) -> Graph:
    """A map of 7 x 6 pixels of 2 channels, convolved and flattened; `attributes` of the convolution."""
    graph = Graph(*shape)
    front(graph)
    sign(conv(graph, **attributes).norm(6, 0.5))
    padded = "auto_pad" in attributes or "pads" in attributes
    return ended(graph.add("Flatten"), 6 * (42 if padded else 20) // attributes.get("strides", [1])[0] ** 2)


def ends_with(kind: str, *more: Any, output: int = 0, **attributes: Any) -> Callable[[], Graph]:
    def make() -> Graph:
        graph = normed()
        made = graph.node(kind, graph.last, *more, outputs=output + 1, **attributes)
        graph.last = f"{made}.{output}" if output else made
        return graph

    return make


def reshaped(*shape: int) -> Graph:
    graph = Graph(1, 4, 8).add("Reshape", np.array(shape))
    graph.add("Gemm", graph.signs(24, 32), transB=1)
    return ended(sign(graph.norm(24, 0.5)))


def normed_half() -> Graph:
    graph = Graph(32).add("Cast", to=FLOAT)
    graph.add("Gemm", graph.signs(24, 32), transB=1)
    return ended(sign(graph.norm(24, 0.5)))


def as_inputs(graph: Any) -> None:
    import onnx

    for tensor in graph.initializer:
        graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))


def inputs_first(graph: Any) -> None:
    as_inputs(graph)
    image = graph.input[0]
    del graph.input[0]
    graph.input.append(image)


def as_nodes(graph: Any) -> None:
    import onnx

    constants = [onnx.helper.make_node("Constant", [], [tensor.name], value=tensor) for tensor in graph.initializer]
    nodes = [*constants, *graph.node]
    del graph.initializer[:], graph.node[:]
    graph.node.extend(nodes)


def through_identities(graph: Any) -> None:
    """As PyTorch shares constants: each taken through an Identity."""
    import onnx

    names = [tensor.name for tensor in graph.initializer]
    for node in graph.node:
        for place, name in enumerate(node.input):
            if name in names:
                node.input[place] = f"{name}.shared"
    nodes = [*(onnx.helper.make_node("Identity", [name], [f"{name}.shared"]) for name in names), *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)


def with_dead_parts(graph: Any) -> None:
    import onnx

    graph.initializer.append(onnx.numpy_helper.from_array(np.zeros((3, 3), F), "unused"))
    graph.node.append(onnx.helper.make_node("NonZero", ["image"], ["nowhere"]))
    graph.node.append(onnx.helper.make_node("Relu", ["tensor1"], ["aside"]))


def without_names(graph: Any) -> None:
    for node in graph.node:
        node.ClearField("name")


def whole_weights(graph: Graph) -> Any:
    """Weights kept as bytes, cast and scaled."""
    graph.fan_in = 24
    cast = graph.node("Cast", graph.rng.choice([-1, 1], (24, 16)).astype(np.int8), to=FLOAT)
    sign(graph.add("MatMul", graph.node("Mul", cast, F(0.25))).norm(16, 0.25))
    return graph


def signs_of_weights(graph: Graph) -> Any:
    graph.fan_in = 24
    return sign(graph.add("MatMul", graph.node("Sign", graph.rng.normal(0, 0.2, (24, 16)).astype(F))).norm(16, 1))


def strided(mode: str) -> Graph:
    graph = Graph(2, 8, 6)
    sign(conv(graph, auto_pad=mode, strides=[2, 2]).norm(6, 0.5))
    return ended(graph.add("Flatten"), 6 * 4 * 3)


def padded(*constants: Any, **attributes: Any) -> Callable[[Graph], Any]:
    return lambda g: g.add("Pad", np.array([0, 0, 1, 1, 0, 0, 1, 1]), *constants, **attributes)


def behind_pad(front: Callable[[Graph], Any]) -> Graph:
    graph = Graph(2, 7, 6)
    front(graph)
    sign(conv(graph).norm(6, 0.5))
    return ended(graph.add("Flatten"), 6 * 42)


def channels_last() -> Graph:
    return convolved(lambda g: g.add("Transpose", perm=[0, 3, 1, 2]), (7, 6, 2))


def back_and_flat() -> Graph:
    """As tf2onnx: the map's channels are last again before it is flattened."""
    graph = Graph(7, 6, 2).add("Transpose", perm=[0, 3, 1, 2])
    sign(conv(graph).norm(6, 0.5)).add("Transpose", perm=[0, 2, 3, 1])
    return ended(graph.add("Reshape", np.array([-1, 120])), 120)


def grey(kind: str, *more: Any) -> Graph:
    graph = Graph(7, 6).add(kind, *more)
    sign(conv(graph, channels=1).norm(6, 0.5))
    return ended(graph.add("Flatten"), 120)


def flat_image() -> Graph:
    graph = Graph(42).add("Reshape", np.array([-1, 1, 7, 6]))
    sign(conv(graph, channels=1).norm(6, 0.5))
    return ended(graph.add("Flatten"), 120)


def squeezed() -> Graph:
    graph = Graph(1, 4, 8).add("Squeeze", np.array([1])).add("Flatten")
    return ended(sign(graph.add("MatMul", graph.signs(32, 24, outputs=1)).norm(24, 0.5)))


def one_pixel() -> Graph:
    graph = Graph(2, 3, 3)
    sign(conv(graph, filters=24).norm(24, 0.5))
    return ended(graph.add("Squeeze", np.array([2, 3])))


def pooled() -> Graph:
    graph = Graph(3, 11, 7)
    sign(conv(graph, channels=3, filters=5).norm(5, 0.5, signed=False)).add("MaxPool", kernel_shape=[2, 2], strides=[2, 2])
    graph.add("Conv", graph.signs(7, 5, 2, 2), kernel_shape=[2, 2])
    sign(graph.norm(7, 0.5))
    return ended(graph.add("Flatten"), 7 * 3 * 1)


def colours() -> Graph:
    graph = Graph(5, 4, 3).add("Flatten")
    return ended(sign(graph.add("MatMul", graph.signs(60, 24, outputs=1)).norm(24, 0.5)))


def exchanged() -> Graph:
    graph = Graph(2, 7, 6)
    sign(conv(graph).norm(6, 0.5)).add("Transpose", perm=[0, 1, 3, 2])
    sign(conv(graph, channels=6).norm(6, 0.5))
    return ended(graph.add("Flatten"), 36)


def rows_apart() -> Graph:
    graph = Graph(4, 8)
    return sign(graph.add("MatMul", graph.signs(8, 6, outputs=1)))


def scaled() -> Graph:
    graph = Graph(32)
    bias = graph.rng.normal(0, 3, 24).astype(F)
    return ended(sign(graph.add("Gemm", graph.signs(24, 32), bias, transB=1, alpha=0.5, beta=2.0)))


def decomposed(shape: tuple[int, ...]) -> Graph:
    graph = conv(Graph(2, 7, 6))
    graph.add("Mul", graph.rng.uniform(0.5, 2, shape).astype(F)).add("Sub", graph.rng.normal(0, 1, shape).astype(F))
    return ended(sign(graph).add("Flatten"), 120)


def dense_front(front: Callable[[Graph], Any]) -> Graph:
    graph = Graph(32)
    front(graph)
    return ended(sign(graph.add("MatMul", graph.signs(32, 24, outputs=1)).norm(24, 0.5)))


def bits(graph: Graph) -> Graph:
    return graph.add("GreaterOrEqual", NONE).add("Cast", to=FLOAT).add("Mul", F(2)).add("Sub", ONE)


def straight(graph: Graph) -> Graph:
    x = graph.last
    graph.last = graph.node("Add", x, graph.node("Sub", graph.node("Sign", x), x))
    return graph


def straight_and_clipped(graph: Graph) -> Graph:
    clipped = graph.node("Clip", graph.last, -ONE, ONE)
    graph.last = graph.node("Add", graph.node("Sub", graph.node("Sign", graph.last), clipped), clipped)
    return graph


def sized(graph: Graph) -> Graph:
    graph.last = graph.node("Mul", graph.last, graph.node("Sign", graph.last))
    return graph


def residual() -> Graph:
    graph = sign(begun(32).norm(24, 0.5))
    around = graph.last
    graph.add("Gemm", graph.signs(24, 24), transB=1).add("Add", around)
    return ended(sign(graph.norm(24, 0.5)))


def xnor() -> Graph:
    """As XNOR-Net's PyTorch code is exported: real weights, their signs, and their mean size."""
    graph = Graph(32)
    graph.fan_in = 32
    real = graph.constant(graph.rng.normal(0, 0.2, (24, 32)).astype(F))
    signs = graph.node("Add", real, graph.node("Sub", graph.node("Sign", real), real))
    size = graph.node("ReduceMean", graph.node("Abs", real), axes=[1], keepdims=1)
    graph.add("MatMul", graph.node("Transpose", graph.node("Mul", signs, size), perm=[1, 0]))
    return ended(sign(graph.norm(24, 0.1)))


def thresholds(graph: Graph, rows: int = 24, columns: int = 1, **more: Any) -> Graph:
    return graph.add("MultiThreshold", graph.rng.normal(0, 2, (rows, columns)).astype(F), **{**THRESHOLD, **more})


def map_of_thresholds(perm: list[int], layout: str) -> Graph:
    graph = conv(Graph(2, 7, 6)).add("Transpose", perm=perm)
    thresholds(graph, 6, data_layout=layout).add("Transpose", perm=list(np.argsort(perm)))
    return ended(graph.add("Flatten"), 120)


def quantised(weights: Any, signs: Any) -> Graph:
    graph = Graph(32).sign()
    graph.fan_in = 32
    weight = graph.node("BipolarQuant", graph.rng.normal(0, 0.2, (24, 32)).astype(F), np.asarray(weights, F), domain=CUSTOM)
    graph.add("Gemm", weight, transB=1).norm(24)
    return ended(graph.add("BipolarQuant", np.asarray(signs, F), domain=CUSTOM))


def colour_steps(graph: Graph) -> Graph:
    scale = np.array([0.1, 0.2], F).reshape(1, 2, 1, 1)
    return graph.add("Quant", scale, NONE, F(4), domain=CUSTOM, signed=1, narrow=0, rounding_mode="ROUND")


def of_type(dtype: Any, number: int) -> Callable[[Any], None]:
    """Change all floats of a graph, and the types of its ends."""

    def change(graph: Any) -> None:
        import onnx

        for tensor in graph.initializer:
            value = onnx.numpy_helper.to_array(tensor)
            if value.dtype == F:
                tensor.CopyFrom(onnx.numpy_helper.from_array(value.astype(dtype), tensor.name))
        for end in (graph.input[0], graph.output[0]):
            end.type.tensor_type.elem_type = number

    return change


in_double, in_half = of_type(np.float64, DOUBLE), of_type(np.float16, FLOAT16)


def grouped() -> Graph:
    graph = Graph(2, 7, 6).add("Conv", np.ones((6, 1, 3, 3), F), group=2)
    return ended(sign(graph.norm(6)).add("Flatten"), 120)


def dense_and_conv() -> Graph:
    graph = sign(begun(32).norm(24, 0.5)).add("Reshape", np.array([1, 24, 1, 1]))
    return graph.add("Conv", graph.signs(5, 24, 1, 1), kernel_shape=[1, 1]).add("Flatten")


def of_one_name(graph: Any) -> None:
    for node in graph.node:
        node.name = "same"


def rewritten(graph: Any) -> None:
    """As onnxruntime saves what it has optimised."""
    graph.node[1].domain = "com.microsoft.nchwc"


def three_axes() -> Graph:
    graph = Graph(32).add("Unsqueeze", np.array([1]))
    graph.add("MatMul", graph.signs(32, 24, outputs=1)).add("Squeeze", np.array([1]))
    return ended(sign(graph.norm(24, 0.5)))


def flat_numbers(draw: Callable[[np.random.Generator], np.ndarray]) -> Graph:
    """An offset behind a map of 5 x 4 sums of 6 channels that has been flattened."""
    graph = conv(Graph(2, 7, 6)).add("Flatten")
    return ended(sign(graph.add("Add", draw(graph.rng).astype(F))), 120)


def four_bits(graph: Graph) -> Graph:
    return graph.add("Cast", to=FLOAT).add("Mul", F(1 / 16)).add("Floor").add("Mul", F(2)).add("Sub", F(15))


def wide(**attributes: Any) -> Graph:
    graph = Graph(1, 12, 12)
    graph.add("Conv", graph.signs(4, 1, *attributes["kernel_shape"]), **attributes)
    return ended(sign(graph.norm(4)).add("Flatten"), 64)
