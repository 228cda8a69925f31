"""Several processes train as one does: on the CPU, with gloo, as torchrun would start them."""

# ruff: noqa: E402
from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from torch import multiprocessing

from lcspeech.errors import UsageError
from lcspeech.train.distributed import average_gradients, gather, process_group, processes, rank
from lcspeech.train.run import CHECKPOINT
from tests.train.test_loop import assert_same, killer, log_of, make_trainer

PROCESSES = 2


def start(function: Any, *arguments: Any) -> None:
    """`function(*arguments)` in two processes at once, with the environment that torchrun gives them."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    multiprocessing.spawn(_start_one, (port, function, arguments), nprocs=PROCESSES)  # type: ignore[no-untyped-call]


def _start_one(number: int, port: int, function: Any, arguments: tuple[Any, ...]) -> None:
    os.environ |= {"RANK": str(number), "WORLD_SIZE": str(PROCESSES), "MASTER_ADDR": "localhost"}
    os.environ["MASTER_PORT"] = str(port)
    with process_group():
        function(*arguments)
    # All was asserted. One interpreter of some hundreds aborted at its exit ("terminate called without an active
    # exception": a thread of torch that is still about), and what is tested here is not torch's end.
    os._exit(0)


def _average() -> None:
    weight, unused = (torch.nn.Parameter(torch.zeros(2, 3)) for _ in range(2))
    weight.grad = torch.arange(6.0).view(2, 3) * (1 + rank())
    average_gradients([weight, unused])
    assert torch.equal(weight.grad, torch.arange(6.0).view(2, 3) * 1.5)
    assert unused.grad is None
    assert gather(f"of {rank()}") == (["of 0", "of 1"] if rank() == 0 else [])


def _run(folder: Path, changes: dict[str, Any], kill_after: int | None) -> None:
    trainer = make_trainer(folder, **changes)
    if (folder / CHECKPOINT).exists():
        trainer.resume()
    try:
        trainer.run(killer(kill_after) if kill_after else lambda: None)
    except KeyboardInterrupt:
        assert kill_after
    # Within an epoch each has norms' statistics of its own
    state = trainer.network.parameters() if kill_after else trainer.network.state_dict().values()
    everyone = gather([value.detach() for value in state])
    assert_same(everyone[:1], everyone[1:])


def run(folder: Path, kill_after: int | None = None, **changes: Any) -> None:
    start(_run, folder, changes, kill_after)


def test_gradients_are_averaged_and_values_gathered() -> None:
    start(_average)


def test_without_torchrun_there_is_one_process() -> None:
    with process_group():
        assert (processes(), rank(), gather("alone")) == (1, 0, ["alone"])


def test_two_processes_learn_what_one_does(tmp_path: Path) -> None:
    changes: dict[str, Any] = {"batch": 32, "epochs": 8, "steps_per_epoch": 5, "warmup_epochs": 8}
    changes |= {"dropout": 0.0, "learning_rate": 0.004}
    torch.set_num_threads(1)
    make_trainer(tmp_path / "one", **changes).run()
    run(tmp_path / "two", **changes)
    one, two = ([line["pooled"] for line in log_of(tmp_path / name)] for name in ("one", "two"))
    for losses in (one, two):
        assert losses[-1] < 0.7 * losses[0]
    # Each process draws rows of its own, so the curves are two of many; their second halves differ by the draws alone
    assert sum(two[4:]) == pytest.approx(sum(one[4:]), rel=0.25)


@pytest.mark.parametrize("killed_after", [4, 5])
def test_two_processes_resume_to_the_bit(tmp_path: Path, killed_after: int) -> None:
    run(tmp_path / "whole")
    run(tmp_path / "killed", killed_after)
    run(tmp_path / "killed")
    whole, resumed = (torch.load(tmp_path / name / CHECKPOINT, weights_only=True) for name in ("whole", "killed"))
    assert len(whole["processes"]) == PROCESSES
    assert_same(whole, resumed)
    assert log_of(tmp_path / "whole") == log_of(tmp_path / "killed")


def test_another_number_of_processes_does_not_resume(tmp_path: Path) -> None:
    run(tmp_path)
    with pytest.raises(UsageError, match="was made by 2 processes; resume with as many"):
        make_trainer(tmp_path).resume()


def _uneven(folder: Path) -> None:
    with pytest.raises(UsageError, match="2 processes cannot share batches of 5; give a multiple"):
        make_trainer(folder, batch=5)


def test_a_batch_that_cannot_be_shared_is_refused(tmp_path: Path) -> None:
    start(_uneven, tmp_path)
