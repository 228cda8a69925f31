"""Where `listen` gets its audio: a microphone, or raw PCM on standard input."""

from __future__ import annotations

import contextlib
import os
import stat
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, TextIO

from lcspeech.cli._status import warn
from lcspeech.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

PIPE = "-"  # as a device: standard input
PIPE_RATE = 16_000  # Hz, if not told
LIVE_BLOCK_SECONDS = 0.01  # of a live pipe, at least
WAITED_SECONDS = 0.02  # for a block of one: longer than it takes to read what is there
LIVE_RATES = (8_000, 11_025, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 96_000)  # Hz, of one channel or two
LIVE_TOLERANCE = 0.05  # by the clock of a busy machine


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
    blocks = read_pcm(sys.stdin.buffer, rate, channels, rate)
    return Source("standard input", rate, blocks if _is_file(sys.stdin) else _watched(blocks, rate, channels))


def _is_file(stream: TextIO) -> bool:
    try:
        return stat.S_ISREG(os.fstat(stream.fileno()).st_mode)
    except OSError:  # what is no file of the system's, in a test
        return False


def _watched(blocks: Iterable[NDArray[np.float32]], rate: int, channels: int) -> Iterator[NDArray[np.float32]]:
    """Warn of what is wrong with a live pipe. What comes much faster than the clock is a file, and may be silent.

    So is what comes at a rate that no source has.
    """
    from lcspeech.health import Problem
    from lcspeech.watch import RateMeter, Watch

    watch, meter = Watch(rate), RateMeter(rate, LIVE_BLOCK_SECONDS)
    asked, is_due = time.monotonic(), False
    for block in blocks:
        now = time.monotonic()
        is_due |= now - asked >= WAITED_SECONDS  # before that comes what was sent while this program began
        if is_due:
            meter.add(now, len(block))
        for finding in watch.hear(block, lambda: meter.rate):
            if finding.problem is Problem.WRONG_RATE:
                if meter.rate is not None and is_live(meter.rate * channels):
                    warn(f"{meter.rate:.0f} samples come in a second, not {rate}; give their --rate and --channels")
            elif meter.rate is not None:
                warn(f"standard input: {finding.message}")
        yield block
        asked = time.monotonic()


def is_live(rate: float) -> bool:
    """Whether so many 16-bit numbers a second come from a source that the clock drives."""
    return any(abs(rate / (channels * live) - 1) < LIVE_TOLERANCE for channels in (1, 2) for live in LIVE_RATES)
