"""The status line of `listen`: level meter, device and what is waited for, rewritten in place."""

from __future__ import annotations

import contextlib
import math
import os
import sys
from typing import TYPE_CHECKING

from lcspeech.cli._output import complain, on_terminal, say

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FLOOR_DB = -60.0  # dBFS at the left end of the meter
CELLS = 20
REFRESH_SECONDS = 0.1  # of audio between two looks of the line


class Status:
    """On a terminal a line that follows the audio; elsewhere one line at the start."""

    def __init__(self, source: str, sample_rate: int, waits_for: str) -> None:
        self._text = f"{source}, {sample_rate} Hz, waiting for {waits_for}"
        self._refresh = max(1, round(REFRESH_SECONDS * sample_rate))
        self._shown = on_terminal()
        self._energy, self._samples, self._line = 0.0, 0, ""
        if not self._shown:
            say(f"lcspeech: {self._text}")

    def hear(self, block: NDArray[np.float32]) -> None:
        """Follow the level of a block ``[n]``."""
        if not self._shown:
            return
        self._energy += float(block @ block)
        self._samples += len(block)
        if self._samples >= self._refresh:
            self._line = f"{meter(self._energy / self._samples)}  {self._text}"
            self._energy, self._samples = 0.0, 0
            self.draw()

    def draw(self) -> None:
        """Write the line over itself."""
        if self._shown:
            _write(self._line)

    def clear(self) -> None:
        """Take the line away, so that something else can be printed."""
        if self._shown:
            _write("")


def warn(message: str) -> None:
    """A warning in place of the status line, whose next look comes with the next sound."""
    if on_terminal():
        _write("")
    complain("warning", message)


def _write(line: str) -> None:
    width = _columns() - 1  # a full last column would wrap
    with contextlib.suppress(OSError):
        sys.stderr.write("\r" + line[:width].ljust(width) + ("" if line else "\r"))
        sys.stderr.flush()


def meter(power: float) -> str:
    """Mean square of samples in [-1, 1] -> ``[######..............]  -42 dBFS``."""
    level = 10 * math.log10(power) if power > 0 else -math.inf
    filled = round(CELLS * min(1.0, max(0.0, 1 - level / FLOOR_DB)))
    return f"[{'#' * filled}{'.' * (CELLS - filled)}] {max(level, -99.0):4.0f} dBFS"


def _columns() -> int:
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns or 80
    except (OSError, ValueError):
        return 80
