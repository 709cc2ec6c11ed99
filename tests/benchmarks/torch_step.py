"""The standard training of a network in float32, and the paper's method, as one writes them with PyTorch: what the golden model's
speed and accuracy are compared with.

Courbariaux, Hubara, Soudry, El-Yaniv, Bengio, arXiv 1602.02830, and Wang et al., arXiv 2102.04270, as `Standard` and `Method` of
`bnnedge.sim.reference` have them in arrays; `tests/benchmarks/test_torch_step.py` holds the two together.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from bnnedge import Conv2D, Dense, Network
from bnnedge.layers import Geometry
from bnnedge.sim.reference.functions import DEVIATION_FLOOR, VARIANCE_FLOOR
from bnnedge.sim.reference.network import AVERAGE_SHARE


def signs(x: Tensor) -> Tensor:
    """+1 for x >= 0, else -1 (and for -0). `torch.where` would say the same and take ten times as long."""
    return torch.copysign(torch.ones(()), x)


class Sign(torch.autograd.Function):
    """The signs of x; the straight-through estimator passes the gradient where |x| <= 1."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return signs(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return x.abs().le_(1).mul_(gradients[0])  # le_ leaves 0.0 and 1.0


class L1Norm(torch.autograd.Function):
    """x = (y - mean) / spread + beta of sums (B, M, ...), where spread is the mean absolute deviation; and mean and spread (M,).

    The gradient at y takes sgn(x) for x: v - mean(v) - sgn(x) mean(v sgn(x)), v = gradient / spread. PyTorch's own batch norm
    computes both, given other statistics than those of its input: that is one pass over a map instead of five.
    """

    @staticmethod
    def forward(ctx: Any, y: Tensor, beta: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        others = [n for n in range(y.dim()) if n != 1]
        mean = y.mean(others, keepdim=True)
        sums = torch.linalg.vector_norm(y - mean, 1, others)
        mean, spread = mean.flatten(), (sums * (len(beta) / y.numel())).clamp_(DEVIATION_FLOOR)
        x = functional.batch_norm(y, mean, spread**2, None, beta, eps=0)
        ctx.save_for_backward(x, spread)
        ctx.mark_non_differentiable(mean, spread)
        return x, mean, spread

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        x, spread = ctx.saved_tensors
        zeros, ones = torch.zeros_like(spread), torch.ones_like(spread)
        at_y, _, at_beta = torch.ops.aten.native_batch_norm_backward(
            gradients[0], signs(x), 1 / spread, None, None, zeros, ones, True, 0.0, [True, False, True]
        )
        return at_y, at_beta


class Layer(nn.Module):
    """A product with binary weights and a batch norm with offset and no gain.

    weight: (M, C, ky, kx) of a convolution, (M, C * height * width) of a dense layer, in [-1, 1].
    """

    mean: Tensor
    variance: Tensor

    def __init__(self, geometry: Geometry, dense: bool, rng: np.random.Generator) -> None:
        super().__init__()
        g = self.geometry = geometry
        self.dense = dense
        drawn = np.clip(rng.normal(0, g.fan_in**-0.5, (g.fan_in, g.filters)), -1, 1).astype(np.float32)
        windows = drawn.reshape(g.kernel_y, g.kernel_x, g.channels, g.filters).transpose(3, 2, 0, 1)
        self.weight = nn.Parameter(torch.tensor(windows.reshape(g.filters, -1) if dense else windows))
        self.beta = nn.Parameter(torch.zeros(g.filters))
        self.register_buffer("mean", torch.zeros(g.filters))
        self.register_buffer("variance", torch.ones(g.filters))

    def forward(self, x: Tensor) -> Tensor:
        """Normalised sums of maps (B, C, H, W): (B, M, out_height, out_width), or (B, M) of a dense layer."""
        g, weight = self.geometry, Sign.apply(self.weight)
        if self.dense:
            y = functional.linear(x.flatten(1), weight)
        else:
            y = functional.conv2d(self._padded(x), weight, stride=g.stride)
            if g.pool == "sums":
                y = functional.max_pool2d(y, 2)
        return self.normalised(y)

    def normalised(self, y: Tensor) -> Tensor:
        """Sums (B, M, ...), normalised by their batch's statistics in training, which the averages follow, or by the averages."""
        return functional.batch_norm(y, self.mean, self.variance, None, self.beta, self.training, AVERAGE_SHARE, VARIANCE_FLOOR)

    def _padded(self, x: Tensor) -> Tensor:
        """The part of an infinite map that the windows cover, with zeros where it has no pixels."""
        g = self.geometry
        below = (g.out_height - 1) * g.stride + g.kernel_y - g.height - g.pad_y
        right = (g.out_width - 1) * g.stride + g.kernel_x - g.width - g.pad_x
        return functional.pad(x, (g.pad_x, right, g.pad_y, below)) if any((g.pad_x, right, g.pad_y, below)) else x


class MethodLayer(Layer):
    """With the L1 batch norm of the paper's method. variance: the square of the mean absolute deviation."""

    def normalised(self, y: Tensor) -> Tensor:
        if not self.training:
            return functional.batch_norm(y, self.mean, self.variance, None, self.beta, eps=0)
        x, mean, spread = L1Norm.apply(y, self.beta)
        with torch.no_grad():
            self.mean.lerp_(mean, AVERAGE_SHARE)
            self.variance.sqrt_().lerp_(spread, AVERAGE_SHARE).square_()
        return cast(Tensor, x)


class Standard(nn.Module):
    """The network in float32: logits (B, classes) of uint8 pixels (B, ...)."""

    def __init__(self, network: Network, seed: int = 0, layer: type[Layer] = Layer) -> None:
        super().__init__()
        rng = np.random.default_rng(seed)
        dense = [isinstance(layer, Dense) for layer in network.layers if isinstance(layer, (Conv2D, Dense))]
        self.layers = nn.ModuleList(map(layer, network.geometry, dense, itertools.repeat(rng)))
        self.first = network.geometry[0]

    def forward(self, pixels: Tensor) -> Tensor:
        x = pixels.float() * (2 / 255) - 1
        x = x.view(-1, self.first.height, self.first.width, self.first.channels).permute(0, 3, 1, 2)
        *hidden, last = self.layers
        for layer in hidden:
            x = Sign.apply(layer(x))
            if layer.geometry.pool == "signs":
                x = functional.max_pool2d(x, 2)
        return last(x)


class Training:
    """Training of a network with Adam, one batch at a time.

    method: the paper's, with the L1 batch norm and signs of the weights' gradients, in place of the standard.
    """

    def __init__(self, network: Network, rate: float = 1e-3, seed: int = 0, *, method: bool = False) -> None:
        self.method = method
        self.model = Standard(network, seed, MethodLayer if method else Layer).to(memory_format=torch.channels_last)
        self.optimiser = torch.optim.Adam(self.model.parameters(), rate, fused=True)

    def step(self, pixels: Tensor, labels: Tensor, rate: float | None = None) -> tuple[float, int]:
        """Mean loss, and number classified rightly, of uint8 pixels (B, ...) with int64 labels (B,), before the update.

        rate: from now on; by default the last one.
        """
        if rate is not None:
            self.optimiser.param_groups[0]["lr"] = rate
        self.optimiser.zero_grad()
        logits = self.model(pixels)
        loss = functional.cross_entropy(logits, labels)
        loss.backward()
        for layer in self.model.layers if self.method else ():
            layer.weight.grad = torch.where(layer.weight.grad >= 0, 1.0, -1.0)
        self.optimiser.step()
        with torch.no_grad():
            for layer in self.model.layers:
                layer.weight.clamp_(-1, 1)
        return loss.item(), int((logits.argmax(1) == labels).sum())

    def accuracy(self, pixels: Tensor, labels: Tensor, batch: int = 250) -> float:
        """The part, 0..1, of uint8 pixels (N, ...) that is classified rightly with the moving averages of the batch norms."""
        self.model.eval()
        with torch.inference_mode():
            parts = zip(pixels.split(batch), labels.split(batch), strict=True)
            hits = sum(int((self.model(part).argmax(1) == of).sum()) for part, of in parts)
        self.model.train()
        return hits / len(labels)

    def state(self) -> dict[str, np.ndarray]:
        """Arrays by name, of numbers alone, from which `restore` goes on: of network and optimiser, after a step at least."""
        return {name: tensor.detach().numpy().copy() for name, tensor in self._tensors().items()}

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Go to where `state` was taken; ValueError, or KeyError, if it is of another network."""
        for parameter in self.model.parameters():
            moments = {name: torch.zeros_like(parameter) for name in ("exp_avg", "exp_avg_sq")}
            self.optimiser.state[parameter] = {"step": torch.zeros(()), **moments}
        with torch.no_grad():
            for name, tensor in self._tensors().items():
                given = torch.tensor(state[name])
                if (given.shape, given.dtype) != (tensor.shape, tensor.dtype):
                    raise ValueError(f"its {name} is of another network")
                tensor.copy_(given)  # which keeps the order in memory, channels last

    def _tensors(self) -> dict[str, Tensor]:
        moments = {
            f"adam.{name}.{kind}": tensor
            for name, parameter in self.model.named_parameters()
            for kind, tensor in self.optimiser.state[parameter].items()
        }
        return {**self.model.state_dict(), **moments}
