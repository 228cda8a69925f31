"""Many files at once: worker processes with a spotter each, results in the order of the tasks.

What a task gives depends on nothing but the task, so that any number of workers gives the same numbers.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from typing import TypeVar

from lcspeech.errors import LcspeechError
from lcspeech.spotter import Spotter
from lcspeech.units import Keyword

Task = TypeVar("Task")
Result = TypeVar("Result")


@dataclass(frozen=True)
class SpotterOptions:
    """Which spotter each worker loads; arguments as of `Spotter.load` and `Spotter.replace`."""

    model: str | None = None
    keywords: tuple[str | Keyword, ...] | None = None
    threshold: float | None = None

    def load(self) -> Spotter:
        """The spotter; errors as of `Spotter.load` and `Spotter.replace`."""
        return Spotter.load(self.model).replace(threshold=self.threshold, keywords=self.keywords)


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_tasks(
    work: Callable[[Spotter, Task], Result],
    tasks: Sequence[Task],
    options: SpotterOptions,
    workers: int,
    done: Callable[[Task], None] = lambda _: None,
) -> list[Result]:
    """``[work(spotter, task) for task in tasks]``, in `workers` processes; `done` is told each task as it ends.

    `work` must be a module's function, and tasks and results must be picklable.

    Raises:
        LcspeechError: of the first task that raises one, or if a worker is killed.
    """
    if min(workers, len(tasks)) <= 1:
        spotter = options.load()
        return list(_one_by_one(work, tasks, spotter, done))
    pool = ProcessPoolExecutor(min(workers, len(tasks)), get_context("spawn"), initializer=_load, initargs=(options,))
    try:
        with interrupts_held():
            futures: dict[Future[Result], int] = {pool.submit(_work, work, task): i for i, task in enumerate(tasks)}
        results: dict[int, Result] = {}
        for future in as_completed(futures):
            results[futures[future]] = future.result()
            done(tasks[futures[future]])
    except BrokenProcessPool as error:
        raise LcspeechError("a worker process was killed, perhaps for memory; use fewer --workers") from error
    finally:
        end(pool)
    return [results[i] for i in range(len(tasks))]


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


_spotter: list[Spotter] = []  # of this worker process


def _load(options: SpotterOptions) -> None:
    begin_worker()
    _spotter[:] = [options.load()]


def _work(work: Callable[[Spotter, Task], Result], task: Task) -> Result:
    return work(_spotter[0], task)
