"""PyTorch computes the golden model's products exactly, whatever its user has set, and leaves it set."""

import contextlib
import threading
import types

import numpy as np
import pytest

from bnnedge import Dense, Network, Settings, configuration
from bnnedge.devices.golden import GoldenDevice
from bnnedge.sim import precision
from bnnedge.sim.arrays import NUMPY, Library, library
from bnnedge.state import TrainingState

torch = pytest.importorskip("torch")

CONFIG = configuration("sim-small")
NETWORK, SETTINGS = Network((5, 6), [Dense(40), Dense(9), Dense(5)]), Settings(batch=64, slope_planes=8)
RANDOM = np.random.RandomState(3)
PIXELS, LABELS = RANDOM.randint(0, 256, (256, 5, 6)).astype(np.uint8), RANDOM.randint(0, 5, 256)


def bits(of: Library) -> list[np.ndarray]:
    """All that a device comes to by three steps, and logits."""
    device = GoldenDevice(CONFIG)
    device.library = of  # PyTorch on a processor, too
    device.prepare(NETWORK, SETTINGS)
    device.load_state(TrainingState.initial(NETWORK, CONFIG.latent, SETTINGS.gradient_planes, 7))
    told = device.train(PIXELS, LABELS, np.arange(192), 900)
    _, tensors = device.probe(PIXELS, LABELS, np.arange(64), 900)
    state = device.state()
    numbers = np.array([(result.loss, result.hits) for result in told])
    return [numbers, *tensors.values(), *(layer.weight for layer in state.layers), device.infer(PIXELS)]


def same(a: list[np.ndarray], b: list[np.ndarray]) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.fixture(params=["torch", "torch:cuda"])
def there(request: pytest.FixtureRequest) -> Library:
    try:
        return library(request.param)
    except ValueError as error:
        pytest.skip(str(error))


PLACES = [torch.backends]
if hasattr(torch.backends.cuda.matmul, "fp32_precision"):
    PLACES += [torch.backends.cuda.matmul, torch.backends.cudnn.conv, torch.backends.mkldnn.matmul, torch.backends.mkldnn.conv]


def settings() -> list[str]:
    """What is set in this process."""
    if len(PLACES) > 1:
        return [place.fp32_precision for place in PLACES]
    return [torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32]


@pytest.fixture
def untouched():
    """Put back what a test sets."""
    before = settings()
    yield
    if len(PLACES) > 1:
        torch.set_float32_matmul_precision("highest")
        for place, value in zip(PLACES, before, strict=True):
            place.fp32_precision = "none"
            if place.fp32_precision != value:
                place.fp32_precision = value
    else:
        torch.set_float32_matmul_precision(before[0])
        torch.backends.cudnn.allow_tf32 = before[1]
    assert settings() == before


def globally(value: str) -> None:
    torch.backends.fp32_precision = value


def in_one_place(place: object, value: str) -> None:
    place.fp32_precision = value  # type: ignore[attr-defined]


USERS = [lambda: torch.set_float32_matmul_precision("medium"), lambda: torch.set_float32_matmul_precision("high"), lambda: None]
if len(PLACES) > 1:
    USERS += [
        lambda: globally("tf32"),
        lambda: globally("ieee"),
        lambda: in_one_place(torch.backends.mkldnn.matmul, "bf16"),
        lambda: (globally("tf32"), in_one_place(torch.backends.cuda.matmul, "ieee")),
        lambda: (torch.set_float32_matmul_precision("medium"), in_one_place(torch.backends.mkldnn.matmul, "tf32")),
    ]


@pytest.mark.parametrize("user", USERS)
def test_settings_of_the_user(user, there, untouched) -> None:
    expected = bits(NUMPY)
    user()
    before = settings()
    with there.exact():
        during = settings()
        a = torch.randint(-4095, 4096, (64, 500), device=there.device).to(torch.float32)
        b = torch.randint(0, 2, (500, 64), device=there.device).to(torch.float32) * 2 - 1
        assert torch.equal(a @ b, (a.double() @ b.double()).to(torch.float32))
    if len(PLACES) > 1:
        assert set(during[1:]) <= {"ieee", "none"}
    else:
        assert during == ["highest", False]
    assert settings() == before
    assert same(bits(there), expected)
    assert settings() == before


def test_what_is_set_for_all_products_later_counts(untouched) -> None:
    """No setting of one kind is left behind that hides it."""
    if len(PLACES) == 1:
        pytest.skip("before PyTorch 2.9 there is one setting")
    globally("tf32")
    with library("torch").exact():
        pass
    globally("ieee")
    assert settings() == ["ieee"] * 5


def test_autocast(there, monkeypatch) -> None:
    expected = bits(NUMPY)
    kind = there.device or "cpu"
    with torch.autocast(kind, dtype=torch.bfloat16):
        assert same(bits(there), expected)
        assert torch.is_autocast_enabled(kind)
        monkeypatch.setattr(Library, "exact", lambda self: contextlib.nullcontext())
        assert not same(bits(there), expected), "which this would go wrong without"


def test_the_last_of_several_threads_puts_it_back(untouched) -> None:
    of, inside, leave = library("torch"), threading.Event(), threading.Event()
    torch.set_float32_matmul_precision("medium")
    before = settings()

    def computes() -> None:
        with of.exact():
            inside.set()
            leave.wait()

    thread = threading.Thread(target=computes)
    with of.exact():
        during = settings()
        thread.start()
        inside.wait()
    assert settings() == during, "the other one still computes"
    leave.set()
    thread.join()
    assert settings() == before != during


def test_after_an_error(untouched) -> None:
    torch.set_float32_matmul_precision("high")
    before = settings()
    with pytest.raises(RuntimeError, match="mine"), library("torch").exact():
        raise RuntimeError("mine")
    assert settings() == before


class Stubborn:
    """A kind of product whose setting cannot be changed."""

    fp32_precision = property(lambda self: "tf32", lambda self, value: None)


def test_a_setting_that_is_not_taken_is_refused(monkeypatch) -> None:
    own = types.SimpleNamespace(matmul=types.SimpleNamespace(fp32_precision="tf32"), conv=Stubborn())
    fake = types.SimpleNamespace(backends=types.SimpleNamespace(cuda=own, cudnn=own, mkldnn=own))
    monkeypatch.setattr(precision.importlib, "import_module", lambda name: fake)
    with pytest.raises(RuntimeError, match="float32 products in tf32, and takes no other setting"), precision.exact("cpu"):
        pass
    assert own.matmul.fp32_precision == "tf32", "what was set before is put back"
    assert precision._inside == 0


def test_before_there_was_a_setting_for_each_kind(monkeypatch) -> None:
    now = {"matmul": "high"}
    cudnn = types.SimpleNamespace(allow_tf32=True)
    fake = types.SimpleNamespace(
        backends=types.SimpleNamespace(cuda=types.SimpleNamespace(matmul=object()), cudnn=cudnn),
        get_float32_matmul_precision=lambda: now["matmul"],
        set_float32_matmul_precision=lambda value: now.update(matmul=value),
        autocast=lambda device, enabled: contextlib.nullcontext(),
    )
    monkeypatch.setattr(precision.importlib, "import_module", lambda name: fake)
    with precision.exact("cpu"):
        assert (now["matmul"], cudnn.allow_tf32) == ("highest", False)
    assert (now["matmul"], cudnn.allow_tf32) == ("high", True)


def test_numpy_has_nothing_to_set() -> None:
    with NUMPY.exact():
        assert precision._inside == 0
