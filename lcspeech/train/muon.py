"""Muon (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/): AdamW's place for weights that are matrices.

The momentum of a matrix is replaced by the nearest orthogonal one, so that no direction is learned at the others'
expense. On utterances it came as far in 240 steps as AdamW in 600.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


def matrices(network: nn.Module) -> dict[nn.Parameter, int]:
    """The weights of `network` that are matrices, and how many each is stacked of: a GRU's three, a convolution's one.

    Convolutions over more than one place or in groups are not among them, nor are layers with a bias, which are the
    small ones: squeeze-and-excitation and heads.
    """
    found: dict[nn.Parameter, int] = {}
    for module in network.modules():
        own = dict(module.named_parameters(recurse=False))
        if isinstance(module, nn.GRU):
            found |= {weight: 3 for name, weight in own.items() if name.startswith("weight")}
        elif isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1) and module.groups == 1 and len(own) == 1:
            found[own["weight"]] = 1
    return found


class Muon(torch.optim.Optimizer):
    """Steps of ``lr * sqrt(max(1, rows / columns))`` in the spectral norm, along Nesterov's momentum."""

    def __init__(
        self, weights: dict[nn.Parameter, int], lr: float, weight_decay: float = 0.0, momentum: float = 0.95
    ) -> None:
        """`weights`: parameters and how many matrices each holds, one below the other."""
        groups = [
            {"params": [weight for weight, count in weights.items() if count == parts], "parts": parts}
            for parts in sorted(set(weights.values()))
        ]
        super().__init__(groups, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        """One step along the gradients that are there."""
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                if not state:
                    state["momentum"] = torch.zeros_like(weight)
                memory = state["momentum"]
                memory.lerp_(weight.grad, 1 - group["momentum"])
                ahead = weight.grad.lerp(memory, group["momentum"])
                update = orthogonal(ahead.reshape(group["parts"], len(weight) // group["parts"], -1))
                size = max(1.0, update.shape[1] / update.shape[2]) ** 0.5
                weight.mul_(1 - group["lr"] * group["weight_decay"])
                weight.add_(update.reshape(weight.shape), alpha=-group["lr"] * size)


def orthogonal(stack: Tensor) -> Tensor:
    """``[matrices, rows, columns]`` with singular values between 0.7 and 1.2, by five Newton-Schulz iterations."""
    tall = stack.shape[1] > stack.shape[2]
    x: Tensor = stack.mT if tall else stack
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(5):
        square = x @ x.mT
        square = torch.baddbmm(square, square, square, beta=-4.7750, alpha=2.0315)
        x = torch.baddbmm(x, square, x, beta=3.4445)
    return x.mT if tall else x
