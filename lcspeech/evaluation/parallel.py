"""Many files at once: worker processes with a spotter each, results in the order of the tasks.

What a task gives depends on nothing but the task, so that any number of workers gives the same numbers.
"""

from __future__ import annotations

import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context, parent_process
from typing import TypeVar

from lcspeech.errors import LcspeechError
from lcspeech.spotter import Spotter

Task = TypeVar("Task")
Result = TypeVar("Result")


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_tasks(
    work: Callable[[Spotter, Task], Result],
    tasks: Sequence[Task],
    spotter: Spotter,
    workers: int,
    done: Callable[[Task], None] = lambda _: None,
) -> list[Result]:
    """``[work(spotter, task) for task in tasks]``, in `workers` processes; `done` is told each task that has ended.

    `work` must be a module's function, and tasks and results must be picklable.

    Raises:
        LcspeechError: of the first task that raises one, or if a worker is killed.
    """
    if min(workers, len(tasks)) <= 1:
        return list(_one_by_one(work, tasks, spotter, done))
    with in_workers(work, tasks, spotter, workers) as results:
        told = []
        for task, result in zip(tasks, results, strict=True):
            told.append(result)
            done(task)
        return told


@contextmanager
def in_workers(
    work: Callable[[Spotter, Task], Result], tasks: Sequence[Task], spotter: Spotter, workers: int
) -> Iterator[Iterator[Result]]:
    """What ``work(spotter, task)`` gives for each of the tasks, in their order, as it is ready; as for `run_tasks`."""
    # Spawned: a forked copy of a process in which libraries run threads may hang
    pool = ProcessPoolExecutor(min(workers, len(tasks)), get_context("spawn"), _begin, (spotter,))
    try:
        with interrupts_held():
            # Not `pool.map`, which cancels what it waits for at a Ctrl-C, while the pool tells of workers that it ended
            futures = deque(pool.submit(_work, work, task) for task in tasks)
        yield _taken(futures)
    except BrokenProcessPool as error:
        raise LcspeechError("a worker process was killed, perhaps for want of memory; give fewer --workers") from error
    finally:
        end(pool)


def _taken(futures: deque[Future[Result]]) -> Iterator[Result]:
    while futures:
        yield futures.popleft().result()


def _one_by_one(
    work: Callable[[Spotter, Task], Result], tasks: Iterable[Task], spotter: Spotter, done: Callable[[Task], None]
) -> Iterator[Result]:
    for task in tasks:
        yield work(spotter, task)
        done(task)


@contextmanager
def interrupts_held() -> Iterator[None]:
    """A Ctrl-C comes after this; to processes that are started meanwhile not before they are ready (`begin_worker`).

    They would tell of it while they import what they need.
    """
    came: list[int] = []
    handler = signal.getsignal(signal.SIGINT)
    # A mask is what the processes inherit. Here it is not enough: a thread of a library may take the signal
    handled = handler is not None and threading.current_thread() is threading.main_thread()
    masked = hasattr(signal, "pthread_sigmask")
    if handled:
        signal.signal(signal.SIGINT, lambda number, _: came.append(number))
    if masked:
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        if masked:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        if handled:
            signal.signal(signal.SIGINT, handler)
        if came:
            signal.raise_signal(signal.SIGINT)


def end(pool: ProcessPoolExecutor) -> None:
    """Wait for what is underway, and begin nothing more; a second Ctrl-C, which would leave both waiting, is held.

    To wait is needed: a pool that is left to itself races with the interpreter's end.
    """
    with interrupts_held():
        pool.shutdown(wait=True, cancel_futures=True)


def begin_worker() -> None:
    """Let this worker process end at a Ctrl-C, which reaches all processes, and of which only the first says something;
    and when the one that started it ends, even if that is killed.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})

    def wait() -> None:
        if (parent := parent_process()) is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


_spotter: Spotter  # of this worker process


def _begin(spotter: Spotter) -> None:
    global _spotter  # noqa: PLW0603 - a pool has no other place for what its processes load once
    begin_worker()
    _spotter = spotter


def _work(work: Callable[[Spotter, Task], Result], task: Task) -> Result:
    return work(_spotter, task)
