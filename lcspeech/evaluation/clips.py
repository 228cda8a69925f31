"""Accuracy on clips of one word, by the protocols that papers on Speech Commands use, streamed in blocks.

- ``v2-12``: ten commands, "unknown" and "silence" (Warden 2018). The clip is scored against every word that the model
  knows, each a label of its own; a best label outside the ten counts as unknown. As published, unknown clips and
  silence are each a tenth of the number of command clips, drawn once with a fixed seed; silence is a second of the
  background noise recordings. The layout of the official test archive is scored file by file instead.
- ``v2-35``: the word among all 35, "unknown" and "silence" being no labels. A word that the model does not know is
  wrong whatever it says.
- ``words``: the model as it is used: each of its keywords, and "unknown" for every other word.

The archive is one split: all of it is taken, its folders of unknown clips and silence included.
"""

from __future__ import annotations

import logging
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lcspeech.audio import duration, find_audio
from lcspeech.errors import AudioError, DataError
from lcspeech.evaluation.datasets import BACKGROUND, find_clips, read_samples, speaker_of
from lcspeech.evaluation.metrics import Proportion
from lcspeech.evaluation.parallel import run_tasks
from lcspeech.evaluation.protocols import BLOCK_SECONDS
from lcspeech.scoring import SILENCE, UNKNOWN, ClosedSet
from lcspeech.spotter import Spotter

Floats = NDArray[np.float32]

_log = logging.getLogger(__name__)

V2_12, V2_35, WORDS = "v2-12", "v2-35", "words"
COMMANDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")
ALL_WORDS = (
    *("backward", "bed", "bird", "cat", "dog", "down", "eight", "five", "follow", "forward", "four", "go", "happy"),
    *("house", "learn", "left", "marvin", "nine", "no", "off", "on", "one", "right", "seven", "sheila", "six", "stop"),
    *("three", "tree", "two", "up", "visual", "wow", "yes", "zero"),
)
ARCHIVE_FOLDERS = {"_unknown_": UNKNOWN, "_silence_": SILENCE}
SHARE = 0.1  # of unknown clips, and of silence, per command clip
DRAW_SEED = 59185  # of these; the one that TensorFlow's recipe uses
SILENCE_SECONDS = 1.0
SILENT_FRAMES = 32  # before and after a picture
BATCH = 32  # clips per task: a worker is asked seldom, and the bar still moves
SPEAKER_GROUPS = ((1, 1), (2, 4), (5, None))  # clips that a speaker has, from and to


@dataclass(frozen=True)
class Clip:
    """A file and its true label, or the second of it that begins at `start` (seconds)."""

    path: Path
    label: str
    start: float | None = None

    def samples(self, sample_rate: int) -> Floats:
        """What is heard, ``[n]``; errors as of `lcspeech.audio.read_blocks`."""
        whole = read_samples(self.path, sample_rate)
        if self.start is None:
            return whole
        first = round(self.start * sample_rate)
        return whole[first : first + round(SILENCE_SECONDS * sample_rate)]


@dataclass(frozen=True)
class Labelled:
    """A clip, the label that the model gave it and that label's probability; `error` if it could not be read."""

    clip: Clip
    label: str = ""
    probability: float = 0.0
    error: str = ""

    @property
    def right(self) -> bool:
        """Whether the model's label is the true one."""
        return self.label == self.clip.label


@dataclass(frozen=True)
class ClipResults:
    """What a model said to each clip of a protocol. `known` of the protocol's words are known to the model."""

    protocol: str
    labelled: tuple[Labelled, ...]
    words: tuple[str, ...]
    known: tuple[str, ...]

    @property
    def read(self) -> tuple[Labelled, ...]:
        """Those that could be read, which are all that count."""
        return tuple(one for one in self.labelled if not one.error)

    @property
    def errors(self) -> tuple[str, ...]:
        """Why the others could not."""
        return tuple(one.error for one in self.labelled if one.error)

    @property
    def accuracy(self) -> Proportion:
        """Over all clips."""
        return _share(self.read)

    @property
    def per_word(self) -> dict[str, Proportion]:
        """By true label, those first that the protocol names first."""
        groups = defaultdict(list)
        for one in self.read:
            groups[one.clip.label].append(one)
        order = {label: place for place, label in enumerate((*self.words, UNKNOWN, SILENCE))}
        return {label: _share(groups[label]) for label in sorted(groups, key=lambda label: (order[label], label))}

    @property
    def confusion(self) -> dict[str, dict[str, int]]:
        """How many clips of each true label got each label."""
        counts: dict[str, Counter[str]] = {label: Counter() for label in self.per_word}
        for one in self.read:
            counts[one.clip.label][one.label] += 1
        return {label: dict(counter.most_common()) for label, counter in counts.items()}

    @property
    def per_speaker_group(self) -> dict[str, Proportion]:
        """By how many of the clips are the same speaker's; clips whose name tells no speaker are not counted."""
        speakers = [(one, speaker_of(one.clip.path)) for one in self.read]
        sizes = Counter(speaker for _, speaker in speakers if speaker)
        groups = {}
        for low, high in SPEAKER_GROUPS:
            members = [one for one, who in speakers if who and low <= sizes[who] <= (high or sizes[who])]
            groups[f"{low}" if low == high else f"{low}-{high}" if high else f"{low}+"] = _share(members)
        return groups

    def to_json(self, model: str) -> dict[str, Any]:
        """Everything as JSON-able data."""
        shares = {"per_word": self.per_word, "per_speaker_group": self.per_speaker_group}
        return {
            "accuracy": self.accuracy.value,
            "interval": self.accuracy.interval,
            "clips": self.accuracy.total,
            **{
                key: {name: {"accuracy": share.value, "clips": share.total} for name, share in parts.items()}
                for key, parts in shares.items()
            },
            "confusion": self.confusion,
            "model": model,
            "protocol": self.protocol,
            "known_share": len(self.known) / len(self.words),
            "unread": len(self.errors),
        }


def evaluate_clips(
    spotter: Spotter,
    clips: Sequence[Clip],
    protocol: str,
    workers: int = 1,
    done: Callable[[int], None] = lambda _: None,
) -> ClipResults:
    """Label all clips by a protocol; `done` is told how many clips are through.

    Raises:
        DataError: if the model knows none of the protocol's words.
    """
    names = tuple(keyword.name for keyword in spotter.card.known())
    spotted = tuple(keyword.name for keyword in spotter.keywords)
    words = {V2_12: COMMANDS, V2_35: ALL_WORDS, WORDS: spotted}[protocol]
    known = tuple(word for word in words if word in names)
    if not known:
        raise DataError(f"this model knows none of the words of {protocol}; its own are measured by --protocol {WORDS}")
    if protocol != WORDS:
        spotter = spotter.replace(keywords=names)
    batches = [_Batch(tuple(clips[i : i + BATCH]), protocol) for i in range(0, len(clips), BATCH)]
    results = run_tasks(label_batch, batches, spotter, workers, lambda batch: done(len(batch.clips)))
    return ClipResults(protocol, tuple(one for batch in results for one in batch), words, known)


@dataclass(frozen=True)
class _Batch:
    clips: tuple[Clip, ...]
    protocol: str


def label_batch(spotter: Spotter, batch: _Batch) -> list[Labelled]:
    """The task of a worker."""
    rate = spotter.card.features.sample_rate
    labelled = []
    for clip in batch.clips:
        try:
            samples = clip.samples(rate)
        except AudioError as error:
            labelled.append(Labelled(clip, error=str(error)))
        else:
            ranked = spotter.classify(samples, sample_rate=rate, block=round(BLOCK_SECONDS * rate))
            labelled.append(Labelled(clip, *protocol_label(batch.protocol, ranked)))
    return labelled


def picture_accuracy(
    spotter: Spotter, log_mels: Iterable[NDArray[np.floating]], words: Sequence[str]
) -> dict[str, Any]:
    """Among the twelve classes, of words of which there is no sound, only log-mel ``[frames, bands]``."""
    card = spotter.card
    known = ClosedSet(card.known(), (), card.search.unknown_bias, card.search.silence_bias)
    silence = np.full((SILENT_FRAMES, card.features.n_mels), np.log(card.features.floor), np.float32)
    right = 0
    for log_mel, word in zip(log_mels, words, strict=True):
        frames = np.concatenate([silence, log_mel.astype(np.float32), silence])
        frames = frames[: len(frames) // card.time_stride * card.time_stride]
        posteriors = known.posteriors(spotter.encoder.run(frames, spotter.quiet)[0])
        ranked = sorted(zip(known.labels, posteriors.tolist(), strict=True), key=lambda pair: -pair[1])
        right += protocol_label(V2_12, ranked)[0] == word
    share = Proportion(right, len(words))
    return {"accuracy": share.value, "interval": share.interval, "clips": share.total}


def protocol_label(protocol: str, ranked: Iterable[tuple[str, float]]) -> tuple[str, float]:
    """A protocol's label, from labels and probabilities with the likeliest first."""
    if protocol == V2_35:
        return next((label, probability) for label, probability in ranked if label in ALL_WORDS)
    label, probability = next(iter(ranked))
    if protocol == V2_12 and label not in {*COMMANDS, SILENCE}:
        label = UNKNOWN
    return label, probability


def protocol_clips(
    data_dir: Path, split: str, protocol: str, keywords: Sequence[str], noise: Path | None = None
) -> list[Clip]:
    """The clips of a split ("validation", "testing", "all") and their true labels; `keywords` are those of "words".

    Silence of "v2-12" is drawn from `noise`, or the data set's own; without either there is none, and a warning.

    Raises:
        DataError: if the folder or the split holds no clips of the protocol.
    """
    given = _given(data_dir) if is_archive(data_dir, split) else []
    if given and split == "validation":
        raise DataError(f"'{data_dir}' is a test archive, which has no {split} split; leave --split out")
    paths = find_clips(data_dir, "all" if given else split)
    if protocol == V2_12:
        clips = _twelve(paths, noise or data_dir / BACKGROUND, given)
    elif protocol == V2_35:
        clips = [Clip(path, path.parent.name) for path in paths if path.parent.name in ALL_WORDS]
    else:
        silent = [clip for clip in given if clip.label == SILENCE]
        if len(silent) < len(given):
            _log.warning("left out: %d unknown clips, which may hold keywords", len(given) - len(silent))
        clips = [Clip(path, path.parent.name if path.parent.name in keywords else UNKNOWN) for path in paths] + silent
    if not clips:
        held = "no clips" if split == "all" else f"no clips of the {split} split"
        raise DataError(f"{held} for {protocol} in '{data_dir}'; give another folder or --split all")
    return clips


def is_archive(data_dir: Path, split: str | None = None) -> bool:
    """Whether a folder is the official test archive, or like it: one split, its unknown clips and silence chosen.

    If it has lists of splits as well, only "all" of it is.
    """
    has_splits = any((data_dir / f"{name}_list.txt").exists() for name in ("validation", "testing"))
    return (split == "all" or not has_splits) and any((data_dir / name).is_dir() for name in ARCHIVE_FOLDERS)


def _given(data_dir: Path) -> list[Clip]:
    folders = [(data_dir / name, label) for name, label in ARCHIVE_FOLDERS.items() if (data_dir / name).is_dir()]
    return [Clip(path, label) for folder, label in folders for path in find_audio([folder])]


def _twelve(paths: Sequence[Path], noise: Path, given: Sequence[Clip]) -> list[Clip]:
    commands = [Clip(path, path.parent.name) for path in paths if path.parent.name in COMMANDS]
    others = [Clip(path, UNKNOWN) for path in paths if path.parent.name not in COMMANDS]
    if given:
        return [*commands, *others, *given]
    if not commands:
        return []
    random = np.random.default_rng(DRAW_SEED)
    count = math.ceil(SHARE * len(commands))
    drawn = sorted(random.permutation(len(others))[:count].tolist())
    return [*commands, *(others[i] for i in drawn), *_silence(noise, count, random)]


def _silence(folder: Path, count: int, random: np.random.Generator) -> list[Clip]:
    if not folder.is_dir():
        _log.warning("no noise in '%s': %s is measured without silence; give --noise", folder, V2_12)
        return []
    rooms = [(path, (duration(path) or 0.0) - SILENCE_SECONDS) for path in find_audio([folder])]
    rooms = [(path, room) for path, room in rooms if room >= 0]
    if not rooms:
        raise DataError(f"no recording of {SILENCE_SECONDS:g} s or more in '{folder}'; copy the data set again")
    chosen = [rooms[random.integers(len(rooms))] for _ in range(count)]
    return [Clip(path, SILENCE, float(random.uniform(0, room))) for path, room in chosen]


def _share(labelled: Sequence[Labelled]) -> Proportion:
    return Proportion(sum(one.right for one in labelled), len(labelled))
