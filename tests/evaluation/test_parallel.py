"""Workers: results in order, errors told, and nothing left behind that could race with the interpreter's end."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading

import pytest

from lcspeech import Spotter
from lcspeech.errors import LcspeechError, UnknownModelError, UsageError
from lcspeech.evaluation.parallel import SpotterOptions, available_cores, run_tasks


def double(spotter: Spotter, task: int) -> tuple[int, int]:
    return 2 * task, len(spotter.keywords)


def refuse(_: Spotter, task: int) -> int:
    raise UsageError(f"task {task} makes no sense")


def die(_: Spotter, task: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return task


def nothing_is_left(threads: set[threading.Thread]) -> bool:
    return set(threading.enumerate()) <= threads and not multiprocessing.active_children()


@pytest.mark.parametrize("workers", [1, 2, 9])
def test_results_come_in_the_order_of_the_tasks(workers: int) -> None:
    before, done = set(threading.enumerate()), []
    results = run_tasks(double, [3, 1, 2], SpotterOptions(keywords=("yes", "no")), workers, done.append)
    assert nothing_is_left(before)
    assert results == [(6, 2), (2, 2), (4, 2)]
    assert sorted(done) == [1, 2, 3]


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_of_a_task_comes_out_as_it_is(workers: int) -> None:
    before = set(threading.enumerate())
    with pytest.raises(UsageError, match=r"task . makes no sense"):
        run_tasks(refuse, [1, 2, 3], SpotterOptions(), workers)
    assert nothing_is_left(before)


def test_a_killed_worker_is_told() -> None:
    before = set(threading.enumerate())
    with pytest.raises(LcspeechError, match=r"a worker process was killed.* fewer --workers"):
        run_tasks(die, [1, 2], SpotterOptions(), 2)
    assert nothing_is_left(before)


def test_no_tasks_and_no_such_model() -> None:
    assert run_tasks(double, [], SpotterOptions(), 4) == []
    with pytest.raises(UnknownModelError):
        run_tasks(double, [1], SpotterOptions(model="banana"), 1)
    assert available_cores() >= 1
