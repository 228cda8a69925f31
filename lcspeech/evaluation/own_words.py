"""How many clips of a typed or recorded word are found in noise, and how often it is heard in talk that lacks it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lcspeech.evaluation.datasets import read_samples
from lcspeech.evaluation.levels import LEVEL, levelled, rms
from lcspeech.evaluation.peers import pocketsphinx_detections
from lcspeech.evaluation.room import Heard
from lcspeech.spotter import Spotter
from lcspeech.units import Keyword

Floats = NDArray[np.float32]

PAUSE_SECONDS, LATE_SECONDS = 1.0, 0.5  # before each clip; by which an event may end after its clip
ALARMS_PER_HOUR = 0.5  # that thresholds chosen on the talk allow
BEGINNINGS = 4  # at which all is heard: how a sound falls into the network's frames changes its score by much
_BLOCKS = 100  # that sound is fed in, so that its log-probs need not all be held


@dataclass(frozen=True, eq=False)
class OwnWord:
    """What is searched for one word: its clips in noise, with pauses between, and talk without it."""

    rate: int  # Hz
    clips: Floats  # all in one stream
    starts: NDArray[np.float64]  # of each clip, in seconds
    ends: NDArray[np.float64]
    talk: dict[str, Floats]  # speech, and the same in noise
    noise: Floats  # alone, as loud as speech

    @classmethod
    def of(
        cls, clips: Sequence[Path], speech: Sequence[Path], noise: Sequence[Path], snr_db: float, rate: int
    ) -> OwnWord:
        """From files; speech and noise are levelled, and mixed at `snr_db`."""
        alone = np.concatenate([_levelled(file, rate) for file in noise])
        loud = alone * np.float32(LEVEL / 10 ** (snr_db / 20) / rms(alone))
        pause = np.zeros(round(PAUSE_SECONDS * rate), np.float32)

        def stream(files: Sequence[Path]) -> list[Floats]:
            return [part for file in files for part in (pause, _levelled(file, rate))]

        parts, talk = [*stream(clips), pause], np.concatenate(stream(speech))
        ends = np.cumsum([len(part) for part in parts])[1:-1:2] / rate
        starts = ends - np.array([len(part) for part in parts[1:-1:2]]) / rate
        mixed, noisy = (samples + np.resize(loud, len(samples)) for samples in (np.concatenate(parts), talk))
        return cls(rate, mixed, starts, ends, {"speech": talk, "speech and noise": noisy}, alone)

    @property
    def hours(self) -> float:
        """Of talk, once."""
        return len(self.talk["speech"]) / self.rate / 3600

    def measure(self, spotter: Spotter, keyword: Keyword) -> tuple[dict[str, Any], dict[str, Any]]:
        """What `spotter` finds at the keyword's own threshold, and at the lowest with half a false alarm an hour."""
        parts = {"clips": self.clips, "noise": self.noise, **self.talk}
        heard = {name: Heard.of(spotter, keyword, self._heard(samples, spotter)) for name, samples in parts.items()}
        best = max(heard[name].threshold(ALARMS_PER_HOUR, 0.0) for name in self.talk)

        def at(threshold: float) -> dict[str, Any]:
            ends = {name: [event.end for event in sound.events(threshold)] for name, sound in heard.items()}
            alarms = {name: len(ends[name]) for name in self.talk}
            figures = self._figures(threshold, ends["clips"], alarms, self._lap(self.clips, spotter))
            return {**figures, "alarms_in_noise": len(ends["noise"])}

        return at(keyword.threshold), at(best)

    def _heard(self, samples: Floats, spotter: Spotter) -> Iterator[Floats]:
        """Blocks of the same sound several times, each time at another place in the network's frames."""
        rest = np.zeros(self._lap(samples, spotter) - len(samples), np.float32)
        for _ in range(BEGINNINGS):
            yield from np.array_split(samples, _BLOCKS)
            yield rest

    def _lap(self, samples: Floats, spotter: Spotter) -> int:
        """Samples after which it begins anew: some of the network's frames and a part of one, enough to hold it."""
        frame = round(spotter.card.frame_seconds * self.rate)
        part = frame // BEGINNINGS
        return part + frame * -(-(len(samples) - part) // frame)

    def measure_pocketsphinx(self, word: str) -> dict[str, Any]:
        """What PocketSphinx finds, at the lowest threshold that lets half a false alarm an hour pass."""
        false = {name: pocketsphinx_detections(talk, word) for name, talk in self.talk.items()}
        allowed = int(ALARMS_PER_HOUR * self.hours)  # in each
        loudest = [sorted((score for _, score in heard), reverse=True)[allowed:] for heard in false.values()]
        threshold = max((scores[0] for scores in loudest if scores), default=0.0)
        found = [end for end, score in pocketsphinx_detections(self.clips, word) if score > threshold]
        alarms = {name: sum(score > threshold for _, score in heard) for name, heard in false.items()}
        return self._figures(threshold, found, alarms)

    def _figures(
        self, threshold: float, heard: Sequence[float], alarms: dict[str, int], lap: int | None = None
    ) -> dict[str, Any]:
        """Of one hearing, or of those that began `lap` samples after one another."""
        begun = np.zeros(1) if lap is None else np.arange(BEGINNINGS) * lap / self.rate
        starts, ends = (np.add.outer(begun, times) for times in (self.starts, self.ends))
        hits = [(starts <= end) & (end <= ends + LATE_SECONDS) for end in heard]
        return {
            "threshold": threshold,
            "found": float(np.any(hits, axis=0).mean()) if hits else 0.0,
            "clips": len(self.ends),
            "hearings": len(begun),
            "false_alarms_per_hour": {name: count / self.hours / len(begun) for name, count in alarms.items()},
        }


def _levelled(file: Path, rate: int) -> Floats:
    return levelled(read_samples(file, rate), rate)
