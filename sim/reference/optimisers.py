"""Optimisers: each holds the state of one parameter array and changes that array in place."""

from typing import ClassVar, Literal, Protocol, get_args

from bnnedge import formats
from bnnedge.sim.arrays import Array, array_namespace
from bnnedge.sim.reference.functions import sgn

OptimiserName = Literal["adam", "sign-momentum", "sign-sgd", "bop", "sign-bop"]

BOP_REAL_RATE = 1e-3
"""Rate of Adam for parameters that are not binary, where Bop trains those that are: the rate of Bop is no step."""

_BETA_UNIT = formats.BETA_FRACTION + formats.BETA_BITS - formats.BETA_USED
BETA_STEP = 2.0 ** (formats.RATE_UNIT + formats.STEP_FRACTION - formats.BETA_RATE - _BETA_UNIT)
"""What beta moves by, in the learning rate, where its gradient is as large as 2^k: docs/arithmetic.md, Mean gradient and beta."""

BOP_SIGN_THRESHOLD = 0.03
"""Threshold of Bop on signs, chosen on held-out images of Fashion-MNIST among 0.005..0.2, for rates of about 0.003."""


class Optimiser(Protocol):
    """What a network asks of an optimiser.

    kept: names of the members, arrays and whole numbers, that change as it goes on.
    """

    kept: ClassVar[tuple[str, ...]]

    def step(self, parameter: Array, gradient: Array, rate: float) -> None:
        """Change `parameter` in place, down `gradient` (of the same shape and dtype), at the learning rate `rate`."""


class Adam:
    """Adam (Kingma & Ba, arXiv 1412.6980), beta1 = 0.9, beta2 = 0.999.

        m += (1 - beta1)(g - m)      v += (1 - beta2)(g^2 - v)
        p -= rate * m/(1 - beta1^t) / (sqrt(v/(1 - beta2^t)) + epsilon)

    On gradients of +1/-1 the corrected v is 1, and Adam is a momentum of signs. If the constructor is given a `rate`, it
    holds in every step, in place of that of `step`.
    """

    kept: ClassVar[tuple[str, ...]] = "first", "second", "steps"

    def __init__(
        self,
        like: Array,
        *,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
        rate: float | None = None,
    ):
        xp = array_namespace(like)
        self.first, self.second = xp.zeros_like(like), xp.zeros_like(like)
        self.beta1, self.beta2, self.epsilon, self.rate, self.steps = beta1, beta2, epsilon, rate, 0

    def step(self, parameter: Array, gradient: Array, rate: float) -> None:
        xp = array_namespace(parameter)
        if self.rate is not None:
            rate = self.rate
        self.steps += 1
        # In place where the standard has it: the update is bound by memory traffic.
        self.first *= self.beta1
        self.first += gradient * (1 - self.beta1)
        self.second *= self.beta2
        self.second += gradient * gradient * (1 - self.beta2)
        correction = (1 - self.beta2**self.steps) ** 0.5
        root = xp.sqrt(self.second)
        root += self.epsilon * correction
        move = self.first / root
        move *= rate * correction / (1 - self.beta1**self.steps)
        parameter -= move


class SignMomentum:
    """Momentum of the gradient's signs: m += (1 - decay)(sgn(g) - m), p -= rate * m."""

    kept: ClassVar[tuple[str, ...]] = ("moment",)

    def __init__(self, like: Array, *, decay: float = 0.9):
        self.moment = array_namespace(like).zeros_like(like)
        self.decay = decay

    def step(self, parameter: Array, gradient: Array, rate: float) -> None:
        self.moment *= self.decay
        self.moment += (1 - self.decay) * sgn(gradient)
        parameter -= rate * self.moment


class SignSGD:
    """Descent by the gradient's signs: p -= rate * sgn(g)."""

    kept: ClassVar[tuple[str, ...]] = ()

    def step(self, parameter: Array, gradient: Array, rate: float) -> None:
        parameter -= rate * sgn(gradient)


class Bop:
    """Bop, for binary weights (Helwegen et al., "Latent Weights Do Not Exist", arXiv 1906.02107).

        m += rate (g - m)      p = -p where |m| > threshold and sgn(m) = sgn(p)

    Parameters keep their magnitude. The rate, 0..1, is the paper's adaptivity gamma: it says over how many gradients m is the
    mean, about 1/rate, not how far a parameter moves.

    Parameters
    ----------
    threshold: what |m| must exceed for a flip, 0 or more. It has the gradient's scale, and the default is the paper's.
    signs: m is the moving mean of sgn(g), and the threshold lies in 0..1: once m has forgotten its start at 0, a share of more
        than (1 + threshold)/2 of the latest signs must be against the parameter.
    """

    kept: ClassVar[tuple[str, ...]] = ("moment",)

    def __init__(self, like: Array, *, threshold: float = 1e-8, signs: bool = False):
        self.moment = array_namespace(like).zeros_like(like)
        self.threshold, self.signs = threshold, signs

    def step(self, parameter: Array, gradient: Array, rate: float) -> None:
        xp = array_namespace(parameter)
        self.moment += rate * ((sgn(gradient) if self.signs else gradient) - self.moment)
        against = (self.moment >= 0) == (parameter >= 0)
        parameter[...] = xp.where((xp.abs(self.moment) > self.threshold) & against, -parameter, parameter)


def warming_share(slowest: int, step: int) -> float:
    """Weight of the value of a step 0, 1, .. in a moving average, as docs/arithmetic.md has it: 2^-slowest, at first more."""
    return 0.5 ** min(slowest, step >> formats.WARM_UP)


class SizedMoment:
    """A moment of the gradient over the gradient's size, as beta learns by docs/arithmetic.md, in real numbers.

        m += (g - m) share      v += (|g| - v) share of a slower average
        p -= BETA_STEP rate clip(m/2^k, -8, 8),    2^(k-1) <= v < 2^k

    size: stands for 2^k, if it is known.
    """

    kept: ClassVar[tuple[str, ...]] = "moment", "mean", "steps"

    def __init__(self, like: Array, *, size: float | None = None):
        xp = array_namespace(like)
        self.moment, self.mean = xp.zeros_like(like), xp.zeros_like(like)
        self.size, self.steps = size, 0

    def step(self, parameter: Array, gradient: Array, rate: float) -> None:
        xp = array_namespace(parameter)
        self.moment += (gradient - self.moment) * warming_share(formats.DECAY, self.steps)
        self.mean += (xp.abs(gradient) - self.mean) * warming_share(formats.SIZE_DECAY, self.steps)
        self.steps += 1
        # A channel that never had a gradient has no moment either.
        size = self.size or 2 ** (xp.floor(xp.log2(xp.clip(self.mean, 1e-30, None))) + 1)
        limit = float(1 << formats.STEP_LIMIT)
        parameter -= BETA_STEP * rate * xp.clip(self.moment / size, -limit, limit)


def make(name: OptimiserName, like: Array, *, binary: bool) -> Optimiser:
    """A fresh optimiser for an array shaped as `like`; ValueError for an unknown name.

    binary: only the signs of the array's elements count. Where they do not, "bop" and "sign-bop" are Adam at the rate
        `BOP_REAL_RATE`.
    """
    if name == "adam":
        return Adam(like)
    if name == "sign-momentum":
        return SignMomentum(like)
    if name == "sign-sgd":
        return SignSGD()
    if name in ("bop", "sign-bop"):
        if not binary:
            return Adam(like, rate=BOP_REAL_RATE)
        return Bop(like, threshold=BOP_SIGN_THRESHOLD, signs=True) if name == "sign-bop" else Bop(like)
    raise ValueError(f"Optimiser must be one of {', '.join(get_args(OptimiserName))}, not {name!r}")
