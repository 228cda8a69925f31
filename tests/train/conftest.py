"""What several tests of the training code share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    import torch


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """One thread, so that numbers repeat to the bit, and torch's global settings as they were before."""
    torch = pytest.importorskip("torch")
    threads, generator = torch.get_num_threads(), torch.get_rng_state()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)
    torch.set_rng_state(generator)
    torch.set_flush_denormal(False)


def settle(module: torch.nn.Module, *inputs: object) -> torch.nn.Module:
    """Give every batch norm the statistics of `inputs`, as after training, so that no layer's output is near zero."""
    import torch

    norms = [m for m in module.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
        torch.nn.init.uniform_(norm.weight, 0.5, 1.0)
        torch.nn.init.uniform_(norm.bias, -0.5, 0.5)
    with torch.no_grad():
        module.train()(*inputs)
    return module.eval()


def pieces(length: int, lengths: Sequence[int], multiple: int = 1) -> list[int]:
    """`lengths` in units of `multiple`, cut off or filled up to add up to `length`."""
    result: list[int] = []
    for wanted in lengths:
        result.append(min(wanted * multiple, length - sum(result)))
    return [*result, length - sum(result)] if sum(result) < length else [n for n in result if n]
