"""Exported networks give the golden model's logits, bit for bit, in every format."""

import re
import subprocess
from pathlib import Path

import numpy as np
import pytest

from bnnedge import Conv2D, Dense, Flatten, MaxPool2D, Network, Settings, Trainer, checkpoint, digits, export, load
from bnnedge.export import graph
from bnnedge.samples import images_for
from bnnedge.sim.golden import Golden

PAGE = Path(__file__).parents[3] / "docs" / "export.md"

# Channels that fill no word, a map that is wider than high, bits of a pixel left out.
NETWORKS = {
    "digits": (digits(), {}),
    "signs": (
        Network((9, 13, 3), [Conv2D(33, padding="same", stride=2), Conv2D(40, 2), MaxPool2D("signs"), Dense(24), Dense(5)]),
        {"input_planes": 5},
    ),
    "sums": (
        Network((8, 10), [Conv2D(17, 4, padding="same"), MaxPool2D("sums"), Conv2D(9, stride=2, padding="same"), Dense(3)]),
        {},
    ),
    "valid": (Network((9, 8, 2), [Conv2D(32, 3, stride=2), Conv2D(8, 3, padding="valid"), Flatten(), Dense(4)]), {}),
    "point": (Network((3, 3, 2), [Conv2D(64), Conv2D(31, 1), Dense(4)]), {"input_planes": 1, "slope_planes": 1}),
    "single": (Network((5, 7), [Dense(6)]), {"input_planes": 3}),
}


@pytest.fixture(scope="module", params=NETWORKS)
def trained(request):
    """A trainer after a few steps, images, and the golden model's logits of them."""
    network, options = NETWORKS[request.param]
    random = np.random.RandomState(3)
    if request.param == "digits":
        data = load("digits")
        x, y, images = data.x_train, data.y_train, data.x_test
    else:
        images = x = random.randint(0, 256, (128, *network.input_shape)).astype(np.uint8)
        y = random.randint(0, network.classes, len(x))
    with Trainer(network, settings=Settings(batch=64, **options), rate=0.03) as trainer:
        trainer.fit(x, y, **({"epochs": 3} if request.param == "digits" else {"steps": 3}))
        images = images_for(trainer.network, images, "images")
        golden = Golden(network, trainer.settings, trainer.device.configuration, trainer.state)
        logits = golden.infer(images)
        np.testing.assert_array_equal(trainer.predict(images).argmax(1), logits.argmax(1))
        yield trainer, images, logits


def test_folded(trained):
    trainer, images, logits = trained
    folded = export.fold(trainer)
    found = folded.infer(images)
    assert found.dtype == np.int32
    np.testing.assert_array_equal(found, logits)
    for i, threshold in enumerate(folded.thresholds):
        assert np.all(np.abs(threshold) <= folded.bound(i) + 1)


def test_checkpoint_and_trainer_fold_alike(trained, tmp_path):
    trainer, images, logits = trained
    trainer.save(tmp_path / "checkpoint.npz")
    folded = export.fold(checkpoint.load(tmp_path / "checkpoint.npz"))
    np.testing.assert_array_equal(folded.infer(images), logits)


def test_npz_by_the_reader_in_the_document(trained, tmp_path):
    trainer, images, logits = trained
    export.save(tmp_path / "model.npz", export.fold(trainer), "npz")
    names = {}
    exec(re.search(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)[1], names)
    np.testing.assert_array_equal(names["logits"](tmp_path / "model.npz", images), logits)


MAIN = """
#include <stdio.h>
#include "2nd-model.h"

int main(void)
{
    uint8_t image[BNN_2ND_MODEL_INPUTS];
    int32_t logits[BNN_2ND_MODEL_CLASSES + 1];
    while (fread(image, 1, sizeof image, stdin) == sizeof image) {
        bnn_2nd_model_logits(image, logits);
        logits[BNN_2ND_MODEL_CLASSES] = bnn_2nd_model_predict(image);
        fwrite(logits, sizeof logits, 1, stdout);
    }
    return 0;
}
"""


def test_c(trained, tmp_path):
    trainer, images, logits = trained
    export.save(tmp_path / "2nd-model.h", export.fold(trainer), "c")
    (tmp_path / "main.c").write_text(MAIN)
    options = ["-std=c99", "-O1", "-pedantic", "-Wall", "-Wextra", "-Wconversion", "-Werror"]
    # Stop at what C leaves undefined; a trap needs no library.
    checks = ["-fsanitize=undefined,bounds-strict", "-fsanitize-undefined-trap-on-error"]
    subprocess.run(["gcc", *options, *checks, "-o", tmp_path / "main", tmp_path / "main.c"], check=True)
    run = subprocess.run([tmp_path / "main"], input=images.tobytes(), stdout=subprocess.PIPE, check=True)
    found = np.frombuffer(run.stdout, np.int32).reshape(len(images), -1)
    np.testing.assert_array_equal(found[:, :-1], logits)
    np.testing.assert_array_equal(found[:, -1], logits.argmax(1))


def test_c_alone_has_no_warnings(trained, tmp_path):
    trainer, _, _ = trained
    export.save(tmp_path / "a.h", export.fold(trainer), "c")
    export.save(tmp_path / "b.h", export.fold(trainer), "c")
    (tmp_path / "main.c").write_text('#include "a.h"\n#include "b.h"\n#include "a.h"\nint main(void) { return 0; }\n')
    for standard in (["gcc", "-std=c99"], ["g++", "-std=c++11", "-x", "c++"]):
        subprocess.run([*standard, "-Wall", "-Wextra", "-Werror", "-fsyntax-only", tmp_path / "main.c"], check=True)


NAMES = {
    "my-network.h": "my_network",
    "another network.h": "another_network",
    "int.h": "int",
    "NULL.h": "null",
    "stdint.v2.h": "stdint_v2",
    "8x8.h": "bnn_8x8",
    "_.h": "bnn__",
    "größe.h": "gru00f6u00dfe",
    "\N{CJK UNIFIED IDEOGRAPH-7DB2}.h": "u7db2",
    "a?*+.hpp": "a___",
    "model": "model",
}


def test_a_c_header_is_included_as_it_says(trained, tmp_path):
    """All of them at once, so that no two have a name in common; C and C++."""
    folded, main = export.fold(trained[0]), []
    for file, name in NAMES.items():
        export.save(tmp_path / file, folded, "c")
        text = (tmp_path / file).read_text(encoding="utf-8")
        (include,) = re.findall(r"^ \*     (#include .*)$", text, re.MULTILINE)
        (call,) = re.findall(r"int class_of_image = (\w+)\(image\);", text)
        assert include == f'#include "{file}"'
        assert call.removesuffix("_predict") == name
        head = f"int {name}_of(const uint8_t *image)"
        main += [include, f"{head};", f"{head} {{ return {call}(image); }}"]
    (tmp_path / "main.c").write_text("\n".join(main), encoding="utf-8")
    for standard in (["gcc", "-std=c99"], ["g++", "-std=c++11", "-x", "c++"]):
        subprocess.run([*standard, "-Wall", "-Wextra", "-Werror", "-fsyntax-only", tmp_path / "main.c"], check=True)


@pytest.mark.parametrize("file", ['a"b.h', "a\\b.h", "a\nb.h", "a\N{RIGHT-TO-LEFT OVERRIDE}b.h"])
def test_a_c_header_that_cannot_be_included(trained, tmp_path, file):
    with pytest.raises(ValueError, match=r"no C program can include .*: give a name without quotation marks"):
        export.save(tmp_path / file, export.fold(trained[0]), "c")
    assert not list(tmp_path.iterdir())


def test_onnx(trained, tmp_path):
    runtime = pytest.importorskip("onnxruntime")
    trainer, images, logits = trained
    export.save(tmp_path / "model.onnx", export.fold(trainer), "onnx")
    session = runtime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    assert [(i.name, i.type, i.shape[1:]) for i in session.get_inputs()] == [
        ("image", "tensor(uint8)", list(trainer.network.input_shape))
    ]
    (found,) = session.run(["logits"], {"image": images})
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, logits)


def test_qonnx(trained):
    pytest.importorskip("qonnx")
    from qonnx.core.modelwrapper import ModelWrapper
    from qonnx.core.onnx_exec import execute_onnx
    from qonnx.transformation.infer_shapes import InferShapes
    from qonnx.util.cleanup import cleanup_model

    trainer, images, logits = trained
    model = ModelWrapper(graph.model(export.fold(trainer), bipolar=True))
    operators = [node.op_type for node in model.graph.node]
    assert operators.count("BipolarQuant") == 2 * len(trainer.network.geometry) - 1
    assert "Where" not in operators
    tidy = cleanup_model(ModelWrapper(graph.model(export.fold(trainer), bipolar=True)))
    (one,) = execute_onnx(tidy, {tidy.graph.input[0].name: images[:1]}).values()
    np.testing.assert_array_equal(one, logits[:1])
    model.set_tensor_shape("image", [len(images), *trainer.network.input_shape])
    model.set_tensor_shape("logits", list(logits.shape))
    found = execute_onnx(model.transform(InferShapes()), {"image": images})["logits"]
    np.testing.assert_array_equal(found, logits)
