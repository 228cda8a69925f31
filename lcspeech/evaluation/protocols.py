"""How a model is measured: clips scored as a whole, words found in a stream, and false alarms on speech.

Every protocol runs the shipped file the way a user would, streamed in blocks.
"""

from __future__ import annotations

import dataclasses
import random
from collections import Counter
from collections.abc import Container, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lcspeech.audio import read_blocks
from lcspeech.evaluation.metrics import Proportion, Rate
from lcspeech.scoring import UNKNOWN
from lcspeech.spotter import Spotter
from lcspeech.trigger import Event

BLOCK_SECONDS = 0.08
LIVE_BLOCK_SECONDS = 0.04  # a microphone's
PAUSE_SECONDS = 0.5  # of silence around a word that is looked for in a stream


@dataclass(frozen=True)
class Recording:
    """A file and the words that are spoken in it."""

    path: Path
    words: tuple[str, ...]


@dataclass(frozen=True)
class Validation:
    """What a model is calibrated and measured on."""

    clips: tuple[Recording, ...]  # of one word each
    speech: tuple[Recording, ...]  # transcribed, of speakers who were kept out of training
    noise: tuple[Recording, ...]  # without a word


@dataclass(frozen=True)
class Heard:
    """What a recording raised as part of a stream: events in the stream's time, and where in the stream it lies."""

    recording: Recording
    events: tuple[Event, ...]
    start: float  # seconds
    seconds: float  # of it and of the pause after it

    @property
    def false(self) -> tuple[Event, ...]:
        """The events that its transcript does not explain."""
        return tuple(event for event in self.events if event.keyword not in self.recording.words)


def listen_to(spotter: Spotter, recordings: Iterable[Recording], pause: float = PAUSE_SECONDS) -> list[Heard]:
    """Play recordings into one stream in blocks, with `pause` seconds of silence before each and at the end.

    An event belongs to the recording during which, or in the pause after which, it was raised.
    """
    heard: list[Heard] = []
    with spotter.stream() as stream:
        size = round(BLOCK_SECONDS * stream.sample_rate)
        silence = np.zeros(round(pause * stream.sample_rate), np.float32)
        stream.feed(silence)
        for recording in recordings:
            begin = stream.seconds
            samples = np.concatenate([*read_blocks(recording.path, stream.sample_rate), silence])
            events = [e for start in range(0, len(samples), size) for e in stream.feed(samples[start : start + size])]
            heard.append(Heard(recording, tuple(events), begin, stream.seconds - begin))
    return heard


def mixed(data: Validation, seed: int = 0) -> list[Recording]:
    """Clips, speech and noise in one random order, the same each time for one `seed`.

    Words are found and false alarms are raised in the same stream, each after the other as it comes: a network that
    listens less after talk, or more after a pause, gains nothing by it.
    """
    recordings = [*data.clips, *data.speech, *data.noise]
    random.Random(seed).shuffle(recordings)
    return recordings


def apart(heard: Iterable[Heard], data: Validation) -> tuple[list[Heard], list[Heard], list[Heard]]:
    """What was heard in clips, in speech and in noise."""
    heard = tuple(heard)
    kinds = (frozenset(kind) for kind in (data.clips, data.speech, data.noise))
    clips, speech, noise = ([one for one in heard if one.recording in kind] for kind in kinds)
    return clips, speech, noise


def clip_log_probs(spotter: Spotter, clip: Recording) -> NDArray[np.float32]:
    """A clip's log-probs, streamed in blocks."""
    return spotter.log_probs(clip.path, block=round(BLOCK_SECONDS * spotter.card.features.sample_rate))


def clip_accuracy(spotter: Spotter, clips: Iterable[Recording]) -> dict[str, Proportion]:
    """Per word, how many clips got the right label: their word if it is a keyword, else "unknown"."""
    names = {keyword.name for keyword in spotter.keywords}
    block = round(BLOCK_SECONDS * spotter.card.features.sample_rate)
    return _per_word(
        (word, spotter.classify(clip.path, block=block)[0][0] == (word if word in names else UNKNOWN))
        for clip in clips
        for word in clip.words
    )


def stream_recall(heard: Iterable[Heard], names: Container[str]) -> dict[str, Proportion]:
    """Per word of `names`, how many of the clips of it raised its event."""
    return _per_word(
        (word, any(event.keyword == word for event in clip.events))
        for clip in heard
        for word in clip.recording.words
        if word in names
    )


def false_alarms(heard: Iterable[Heard]) -> tuple[Rate, Counter[str]]:
    """Events for words that are not in the transcript, per hour, and how many of each."""
    heard = tuple(heard)
    words = Counter(event.keyword for one in heard for event in one.false)
    return Rate(words.total(), sum(one.seconds for one in heard) / 3600), words


def measure(spotter: Spotter, data: Validation, trained: dict[str, int], enough: int) -> dict[str, Any]:
    """All figures of a model as JSON-able data. `trained`: training clips per word, `enough` for the main figure."""
    names = {keyword.name for keyword in spotter.keywords}
    clips, speech, noise = apart(listen_to(spotter, mixed(data)), data)
    accuracy, recall = clip_accuracy(spotter, data.clips), stream_recall(clips, names)
    common, which_words = [word for word in accuracy if trained.get(word, 0) >= enough], f"{enough} or more"
    if not common:
        common, which_words = list(accuracy), f"any number (none has {enough}) of"
    result: dict[str, Any] = {
        "clips": {
            **_proportion(accuracy[word] for word in common),
            "what": f"validation clips of words with {which_words} training recordings, labelled as a whole",
            "words": {word: _proportion([accuracy[word]]) for word in accuracy},
        },
        "stream_recall": {
            **_proportion(recall[word] for word in common if word in recall),
            "what": "the same clips, those of keywords, among speech and noise in one stream: the right event",
            "words": {word: _proportion([recall[word]]) for word in recall},
        },
    }
    if data.speech:
        free, _ = false_alarms(one for one in speech if names.isdisjoint(one.recording.words))
        every, which = false_alarms(speech)
        result["false_alarms"] = _rate(free) | {"what": "on utterances without any keyword in their transcript"}
        result["false_alarms_all_speech"] = _rate(every) | {
            "what": "on all utterances: events whose keyword is not in the transcript",
            "keywords": dict(which.most_common()),
        }
    if data.noise:
        alone, _ = false_alarms(noise)
        result["false_alarms_noise"] = _rate(alone) | {"what": "on noise where nobody speaks"}
    return result


def _per_word(results: Iterable[tuple[str, bool]]) -> dict[str, Proportion]:
    right: Counter[str] = Counter()
    total: Counter[str] = Counter()
    for word, is_right in results:
        total[word] += 1
        right[word] += is_right
    return {word: Proportion(right[word], total[word]) for word in sorted(total)}


def _proportion(parts: Iterable[Proportion]) -> dict[str, Any]:
    parts = tuple(parts)
    whole = Proportion(sum(part.count for part in parts), sum(part.total for part in parts))
    return {"accuracy": whole.value, "interval": whole.interval, **dataclasses.asdict(whole)}


def _rate(rate: Rate) -> dict[str, Any]:
    return {"per_hour": rate.value, "interval": rate.interval, **dataclasses.asdict(rate)}
