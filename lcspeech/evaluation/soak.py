"""A day of listening in minutes: does memory stay flat, do event times stay true, are words heard as before?"""

from __future__ import annotations

import math
import os
import resource
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lcspeech.audio import read_blocks
from lcspeech.chain import Chain
from lcspeech.evaluation.protocols import LIVE_BLOCK_SECONDS
from lcspeech.preroll import PreRoll
from lcspeech.spotter import Spotter
from lcspeech.trigger import Event

SAMPLE_RATE = 44_100  # Hz; a microphone's, and not a multiple of the model's
PREROLL_SECONDS = 10.0
PHASE = 0.618  # of an output frame, by which the frames lie differently in each round: every place has its turn
MATCH_SECONDS = 0.5  # between the end of an event and of the word that it is


@dataclass(frozen=True)
class Hour:
    """What was seen in one part of the soak."""

    memory_mib: float  # resident, at its end
    events: int
    found: float  # share of the words said
    late_ms: float  # mean of the ends of events against those of their words


@dataclass(frozen=True)
class Soak:
    """A soak's figures, of its first full hour against its last."""

    audio_hours: float
    took_seconds: float
    cpu_seconds: float
    memory_growth_mib: float
    drift_ms: float
    hours: tuple[Hour, ...]


def soak(
    spotter: Spotter,
    recording: Path,
    truth: Sequence[Event],
    hours: int = 24,
    hour_seconds: float = 3_600.0,
    phase: float = PHASE,
) -> Soak:
    """Listen to a recording over and over, with all that listening takes: resampling, pre-roll, chain and spotter.

    `truth` is what is said in it. A shorter "hour" makes a shorter soak. Each round is made some frames long, and a
    `phase` of a frame.
    """
    period = np.concatenate(list(read_blocks(recording, SAMPLE_RATE)))
    frame = spotter.card.frame_seconds * SAMPLE_RATE
    period = np.pad(period, (0, round((math.ceil(len(period) / frame) + phase) * frame) - len(period)))
    words = sorted({word.keyword for word in truth})
    chain, preroll = Chain(words[0], words[1:]), PreRoll(PREROLL_SECONDS, SAMPLE_RATE)
    size, position = round(LIVE_BLOCK_SECONDS * SAMPLE_RATE), 0
    began, cpu = time.perf_counter(), time.process_time()
    seen = []
    with spotter.stream(SAMPLE_RATE) as stream:
        for hour in range(1, hours + 1):
            events: list[Event] = []
            while stream.seconds < hour * hour_seconds:
                block = period[position : position + size]
                position = position + size if position + size < len(period) else 0
                preroll.feed(block)
                for event in stream.feed(block):
                    chain.hear(event)
                    events.append(event)
            late = _late(events, truth, len(period) / SAMPLE_RATE)
            said = len(truth) * hour_seconds * SAMPLE_RATE / len(period)
            mean = 1_000 * float(np.mean(late)) if late else float("nan")
            seen.append(Hour(resident_mib(), len(events), len(late) / said, mean))
    first, last = seen[0], seen[-1]
    return Soak(
        audio_hours=stream.seconds / 3_600,
        took_seconds=time.perf_counter() - began,
        cpu_seconds=time.process_time() - cpu,
        memory_growth_mib=last.memory_mib - first.memory_mib,
        drift_ms=last.late_ms - first.late_ms,
        hours=tuple(seen),
    )


def _late(events: Sequence[Event], truth: Sequence[Event], period: float) -> list[float]:
    """Seconds from the end of a word to that of its event, for the words that were found."""
    late = []
    for event in events:
        end = event.end % period
        near = [end - word.end for word in truth if word.keyword == event.keyword]
        late += [seconds for seconds in near if abs(seconds) < MATCH_SECONDS]
    return late


def resident_mib() -> float:
    """Memory that this process holds now; where the system does not tell, the most that it ever held."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1_024
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
