"""Optimisers: each holds the state of one parameter array and changes that array in place."""

from typing import Literal, Protocol

import numpy as np

from bnnedge.sim.reference.functions import sgn

OptimiserName = Literal["adam", "sign-momentum"]


class Optimiser(Protocol):
    """What a network asks of an optimiser."""

    def step(self, parameter: np.ndarray, gradient: np.ndarray, rate: float) -> None:
        """Change `parameter` in place, down `gradient` (of the same shape and dtype), at the learning rate `rate`."""


class Adam:
    """Adam (Kingma & Ba, arXiv 1412.6980), beta1 = 0.9, beta2 = 0.999.

        m += (1 - beta1)(g - m)      v += (1 - beta2)(g^2 - v)
        p -= rate * m/(1 - beta1^t) / (sqrt(v/(1 - beta2^t)) + epsilon)

    On gradients of +1/-1 the corrected v is 1, and Adam is a momentum of signs.
    """

    def __init__(self, like: np.ndarray, *, beta1: float = 0.9, beta2: float = 0.999, epsilon: float = 1e-8):
        self.first, self.second = np.zeros_like(like), np.zeros_like(like)
        self.beta1, self.beta2, self.epsilon, self.steps = beta1, beta2, epsilon, 0

    def step(self, parameter: np.ndarray, gradient: np.ndarray, rate: float) -> None:
        self.steps += 1
        # In place, with one temporary: the update is bound by memory traffic.
        self.first *= self.beta1
        scratch = gradient * (1 - self.beta1)
        self.first += scratch
        self.second *= self.beta2
        np.multiply(gradient, gradient, out=scratch)
        scratch *= 1 - self.beta2
        self.second += scratch
        np.sqrt(self.second, out=scratch)
        correction = (1 - self.beta2**self.steps) ** 0.5
        scratch += self.epsilon * correction
        np.divide(self.first, scratch, out=scratch)
        scratch *= rate * correction / (1 - self.beta1**self.steps)
        parameter -= scratch


class SignMomentum:
    """Momentum of the gradient's signs: m += (1 - decay)(sgn(g) - m), p -= rate * m."""

    def __init__(self, like: np.ndarray, *, decay: float = 0.9):
        self.moment = np.zeros_like(like)
        self.decay = decay

    def step(self, parameter: np.ndarray, gradient: np.ndarray, rate: float) -> None:
        self.moment *= self.decay
        self.moment += (1 - self.decay) * sgn(gradient)
        parameter -= rate * self.moment


def make(name: OptimiserName, like: np.ndarray) -> Optimiser:
    """A fresh optimiser for an array shaped as `like`; ValueError for an unknown name."""
    if name == "adam":
        return Adam(like)
    if name == "sign-momentum":
        return SignMomentum(like)
    raise ValueError(f"Optimiser must be 'adam' or 'sign-momentum', not {name!r}")
