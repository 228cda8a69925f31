"""Where `listen` gets its audio: a microphone, or raw PCM on standard input."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lcspeech.cli._status import warn
from lcspeech.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

PIPE = "-"  # as a device: standard input
PIPE_RATE = 16_000  # Hz, if not told
LIVE_BLOCK_SECONDS = 0.01  # of a live pipe, at least


@dataclass(frozen=True)
class Source:
    """Blocks of mono samples ``[n]`` at `sample_rate` Hz."""

    name: str
    sample_rate: int
    blocks: Iterable[NDArray[np.float32]]


@contextlib.contextmanager
def open_source(device: str | None, rate: int | None, channels: int | None) -> Iterator[Source]:
    """Open `device`; `rate` in Hz and `channels` are those of standard input.

    Raises:
        UsageError: if there is no such device, or nothing is piped into standard input.
        MicrophoneError: if the microphone cannot be opened.
    """
    if device == PIPE:
        yield _pipe(rate or PIPE_RATE, channels or 1)
        return
    from lcspeech.microphone import Microphone

    with Microphone(device) as microphone:
        yield Source(microphone.device.name, microphone.sample_rate, microphone)


def _pipe(rate: int, channels: int) -> Source:
    from lcspeech.audio import read_pcm

    if sys.stdin is None or sys.stdin.isatty():
        raise UsageError("no audio on standard input; pipe raw 16-bit PCM into 'lcspeech listen -'")
    return Source("standard input", rate, _watched(read_pcm(sys.stdin.buffer, rate, channels, rate), rate))


def _watched(blocks: Iterable[NDArray[np.float32]], rate: int) -> Iterator[NDArray[np.float32]]:
    """Warn of what is wrong with a live pipe. What comes much faster than the clock is a file, and may be silent."""
    from lcspeech.health import Problem
    from lcspeech.watch import RateMeter, Watch

    watch, meter = Watch(rate), RateMeter(rate, LIVE_BLOCK_SECONDS)
    for block in blocks:
        meter.add(time.monotonic(), len(block))
        for finding in watch.hear(block, lambda: meter.rate):
            if finding.problem is Problem.WRONG_RATE:
                warn(f"{meter.rate:.0f} samples come in a second, not {rate}; give their --rate and --channels")
            elif meter.rate is not None:
                warn(f"standard input: {finding.message}")
        yield block
