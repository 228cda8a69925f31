"""Files spotted in several processes, one file in each at a time; the results come in the order of the files."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING

from lcspeech.errors import AudioError, LcspeechError

if TYPE_CHECKING:
    from lcspeech.evaluation.parallel import SpotterOptions
    from lcspeech.spotter import Spotter
    from lcspeech.trigger import Event


@dataclass(frozen=True)
class Spotted:
    """What was found in a file; with an `error`, in what comes before the damage."""

    events: tuple[Event, ...]
    seconds: float  # of audio that were heard
    error: str | None


@contextlib.contextmanager
def spot_in_processes(files: Sequence[Path], options: SpotterOptions, workers: int) -> Iterator[Iterator[Spotted]]:
    """The results of `files`, as they are ready.

    Raises:
        LcspeechError: if a process dies.
    """
    from lcspeech.evaluation.parallel import end, interrupts_held

    # Spawned: a forked copy of a process in which libraries run threads may hang
    pool = ProcessPoolExecutor(min(workers, len(files)), get_context("spawn"), _start, (options,))
    try:
        with interrupts_held():
            # Not `pool.map`, which cancels what it waits for at a Ctrl-C, while the pool tells of workers that it ended
            futures = deque(pool.submit(_spot, file) for file in files)
        yield _told(futures)
    finally:
        end(pool)


def _told(futures: deque[Future[Spotted]]) -> Iterator[Spotted]:
    try:
        while futures:
            yield futures.popleft().result()
    except BrokenProcessPool as error:
        raise LcspeechError("a process of --workers died, perhaps for want of memory; give fewer --workers") from error


_spotter: Spotter  # of this process


def _start(options: SpotterOptions) -> None:
    from lcspeech.evaluation.parallel import begin_worker

    global _spotter  # noqa: PLW0603 - a pool has no other place for what its processes load once
    begin_worker()
    _spotter = options.load()


def _spot(file: Path) -> Spotted:
    from lcspeech.audio import read_blocks

    events: list[Event] = []
    error = None
    with _spotter.stream() as stream:
        try:
            for block in read_blocks(file, stream.sample_rate):
                events += stream.feed(block)
        except AudioError as damage:
            error = str(damage)
        events += stream.flush()
        return Spotted(tuple(events), stream.seconds, error)
