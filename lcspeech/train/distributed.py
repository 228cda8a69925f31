"""One training in several processes (torchrun): each has its share of the rows, and gradients are averaged.

Started without torchrun there is one process, and everything here is the identity.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

Value = TypeVar("Value")
CPU = torch.device("cpu")


@contextmanager
def process_group() -> Iterator[None]:
    """Joins the processes that torchrun started, for as long as the block runs."""
    if "WORLD_SIZE" not in os.environ:
        yield
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(own_device())
    dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield
    finally:
        dist.destroy_process_group()


def launcher() -> list[str]:
    """The words in front of the script's name on the command line that started this."""
    count = os.environ.get("WORLD_SIZE", "1")
    return ["python"] if count == "1" else ["torchrun", "--nproc-per-node", count]


def processes() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """Which of them this is; number 0 writes the files."""
    return dist.get_rank() if dist.is_initialized() else 0


def own_device() -> torch.device:
    """Where this process computes: on its own CUDA GPU where there is one, else on the CPU."""
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0"))) if torch.cuda.is_available() else CPU


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replaces each gradient by its mean over the processes."""
    average([parameter.grad for parameter in parameters if parameter.grad is not None])


def average(tensors: Sequence[Tensor]) -> None:
    """Replaces each tensor by its mean over the processes; all at once, since small messages cost as much."""
    if processes() == 1 or not tensors:
        return
    flat = torch.cat([tensor.flatten() for tensor in tensors])
    dist.all_reduce(flat)
    flat /= processes()
    pieces = torch.split(flat, [tensor.numel() for tensor in tensors])
    for tensor, piece in zip(tensors, pieces, strict=True):
        tensor.copy_(piece.view_as(tensor))


def gather(value: Value) -> list[Value]:
    """The value of every process, in the order of their ranks, in process 0; elsewhere nothing."""
    if processes() == 1:
        return [value]
    values: list[Value | None] | None = [None] * processes() if rank() == 0 else None
    dist.gather_object(value, values)
    return [v for v in values if v is not None] if values else []
