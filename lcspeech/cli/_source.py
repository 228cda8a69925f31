"""Where `listen` gets its audio: a microphone, or raw PCM on standard input."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lcspeech.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

PIPE = "-"  # as a device: standard input
PIPE_RATE = 16_000  # Hz, if not told


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
    return Source("standard input", rate, read_pcm(sys.stdin.buffer, rate, channels, rate))
