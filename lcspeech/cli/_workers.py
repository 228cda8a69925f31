"""What a worker process of `lcspeech spot --workers` makes of a file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lcspeech.errors import AudioError

if TYPE_CHECKING:
    from lcspeech.spotter import Spotter
    from lcspeech.trigger import Event


@dataclass(frozen=True)
class Spotted:
    """What was found in a file; with an `error`, in what comes before the damage."""

    events: tuple[Event, ...]
    seconds: float  # of audio that were heard
    error: str | None


def spot_file(spotter: Spotter, file: Path) -> Spotted:
    """The task of a worker."""
    from lcspeech.audio import read_blocks

    events: list[Event] = []
    error = None
    with spotter.stream() as stream:
        try:
            for block in read_blocks(file, stream.sample_rate):
                events += stream.feed(block)
        except AudioError as damage:
            error = str(damage)
        events += stream.flush()
        return Spotted(tuple(events), stream.seconds, error)
