"""--save-clips: the sound of each event as a WAV file, from a moment before its word until now."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from lcspeech.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from lcspeech.chain import Command

LATE_SECONDS = 2.0  # by which an event may come after its word
BEFORE_SECONDS = 1.0  # of sound before the word, or before the wake word of a command


class Clips:
    """Saves clips into `folder` (None: nowhere), and tells `report` when one cannot be written."""

    def __init__(
        self, folder: Path | None, before: float, longest: float, sample_rate: int, report: Callable[[str], None]
    ) -> None:
        """`longest` is what may lie between the start of a wake word and the end of its command, in seconds.

        Raises:
            UsageError: if the folder cannot be made.
        """
        self._folder, self._before, self._report = folder, before, report
        self._began = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")  # names of another run are others
        if folder is None:
            return
        from lcspeech.preroll import PreRoll

        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"cannot save clips in '{folder}' ({error.strerror}); give another folder") from error
        self._preroll = PreRoll(before + longest + LATE_SECONDS, sample_rate)

    def feed(self, block: NDArray[np.float32]) -> None:
        """Hear a block ``[n]``, before the spotter does."""
        if self._folder is not None:
            self._preroll.feed(block)

    def save(self, command: Command) -> dict[str, str]:
        """Write a clip; its path as ``{"clip": path}``, nothing if there is none."""
        if self._folder is None:
            return {}
        event = command.event
        word = re.sub(r"[^\w-]+", "_", event.keyword)
        path = self._folder / f"{self._began}-{event.start:010.2f}s-{word}.wav"
        try:
            self._preroll.save(path, (command.wake or event).start - self._before)
        except OSError as error:
            self._report(f"cannot save the clip '{path}' ({error.strerror}); listening goes on")
            return {}
        return {"clip": str(path)}
