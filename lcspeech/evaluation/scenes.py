"""Words one after another, to be listened to at some threshold: how many are found?"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lcspeech.evaluation.levels import loud_seconds
from lcspeech.spotter import Spotter

LATE_SECONDS = 0.7  # by which an event may end after its clip
PAUSE_SECONDS = 0.8

Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Scene:
    """Something to listen to: samples ``[n]``, the words in it with their start and end in seconds.

    `speech` is the share of the time in which somebody speaks, without pauses (`levels.loud_seconds`).
    """

    samples: Floats
    words: tuple[tuple[str, float, float], ...]
    speech: float = 0.0

    def fainter(self, by_db: float) -> Scene:
        """The same from further away, or by a microphone that is turned down."""
        return dataclasses.replace(self, samples=self.samples * np.float32(10 ** (-by_db / 20)))


def scene(parts: Iterable[tuple[str, Floats]], rate: int, pause: float = PAUSE_SECONDS) -> Scene:
    """Clips one after another, each (its word or nothing, samples), with pauses between them."""
    silence = np.zeros(round(pause * rate), np.float32)
    pieces, words, length, spoken = [silence], [], len(silence), 0.0
    for word, samples in parts:
        if word:
            words.append((word, length / rate, (length + len(samples)) / rate))
        pieces += [samples, silence]
        spoken += loud_seconds(samples, rate)
        length += len(samples) + len(silence)
    return Scene(np.concatenate(pieces), tuple(words), spoken * rate / length)


def heard(spotter: Spotter, scene: Scene) -> dict[str, int]:
    """How many of a scene's words a model finds, and how many events are something else."""
    found, false = set(), 0
    for event in spotter.spot(scene.samples, sample_rate=spotter.card.features.sample_rate):
        answers = {
            i
            for i, (word, start, end) in enumerate(scene.words)
            if word == event.keyword and start <= event.end <= end + LATE_SECONDS
        }
        found |= answers
        false += not answers
    return {"found": len(found), "false_alarms": false}
