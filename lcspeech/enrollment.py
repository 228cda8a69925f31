"""A keyword from a few recordings, from synthetic voices, or from both: how it is spelled, and a head of its own.

If the name can be looked up, and its spelling explains the recordings, that spelling is kept, which holds for other
voices too. Otherwise each recording is decoded into its likeliest sequences (beam.py); kept are the few that together
explain all recordings best. That needs no lexicon and no language: what the units are called does not matter as long
as the word is heard as the same ones each time. To explain is to have a high CTC probability (scoring.py) against that
of the same units in talk at large.

Then the word's own head is learned (learning.py), if the model gives what heads read. If it does not, or nothing is to
be learned, a spelling from the dictionary has others beside it, which differ from it in one unit and explain the
recordings best: how the word is heard.

recipes/measure_enrollment.py measures all this on any word. Aligning the recordings' posteriors with the stream (DTW)
found hardly anything.
"""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lcspeech import learning, pretrained
from lcspeech.audio import read_blocks, resampled, to_mono
from lcspeech.beam import likeliest_sequences
from lcspeech.card import OpenSettings
from lcspeech.errors import AudioError, LcspeechError, UsageError
from lcspeech.evaluation.datasets import read_samples
from lcspeech.evaluation.levels import voiced
from lcspeech.pronunciation import spell
from lcspeech.scoring import Lattice, sequence_log_probs, soften
from lcspeech.search import rarity
from lcspeech.spotter import Audio, Spotter
from lcspeech.units import BLANK, Keyword
from lcspeech.voices import RATE, say

Floats = NDArray[np.float32]

FEWEST = 3  # recordings: with two, nobody can say which is the odd one
SEQUENCES = 2  # decoded ones that are kept; more find hardly more, and raise more false alarms
VARIANTS = 16  # of a spelling that are kept beside it; half as many find a tenth less
VOICES = 28  # clips by each program that says a word
FOLDS = 5  # parts of the recordings, at most, each of which is scored by a head that was learned from the others
THRESHOLD = 0.5  # unless the recordings themselves score lower
VOICES_THRESHOLD = 0.6  # of what was learned from voices alone, which talk is sooner taken for
LOWEST_THRESHOLD = 0.3  # however low they score: the false alarms are some two times those at 0.5
_SHARE_HEARD = 0.8  # of the recordings that the threshold is lowered for
LONGEST_SECONDS = 5.0  # of a recording, which is to hold one word and the pause around it; silence beyond is cut off
_AROUND_SECONDS = 0.5  # of it that stay
_MOST_SECONDS = 60.0  # of a file that are read
_BONUS = 0.5  # share of a unit's rarity that counts when recordings are decoded: the likeliest sequences are too short
_MISSPELLED_NATS = 16.0  # by which the dictionary may explain recordings worse, in the median, and still be right
_CANDIDATES = 24  # sequences decoded from each recording
_SHORTEST = 3  # units of a sequence; anything is heard as one or two now and then
_SILENT_DB = -60.0  # dBFS that the loudest 20 ms of speech surely reach; faint clips are as low as -58
_CLIPPED_SHARE = 0.1  # of a word's samples that are as loud as the loudest: 0.05 are found as well as none
_FULL_SCALE, _LOUD = 0.999, 0.1  # of the loudest sample; below a peak of so much, samples are too coarse to tell
# By which the others' may explain a recording worse than its own, above the median of all: of five clips by different
# people one was refused in one draw of 40, of another word among four two in three
_UNLIKE_NATS = 12.0
_MARGIN = 1e-3  # by which a threshold clears the loudest negative


def enroll(
    name: str | Keyword,
    recordings: Sequence[Audio] = (),
    *,
    spotter: Spotter | None = None,
    negatives: Sequence[Audio] = (),
    sample_rate: int | None = None,
    voices: bool = False,
    learn: bool = True,
    on_step: Callable[[], None] = lambda: None,
) -> Keyword:
    """A keyword from three or more recordings of it, one word or phrase in each with a moment of silence around it.

    Recordings are files, or samples ``[n]`` at `sample_rate` Hz, and so are `negatives`, in which the word is not said.
    `name` is a word's, or a keyword whose pronunciations, but not its threshold, are to be kept. `spotter` is that
    which will listen (None: the model "open").

    With `voices`, the word is learned from what the synthetic voices of flite and espeak-ng make of it, too, or,
    without recordings, from these alone. To learn takes under a minute on two cores, `on_step` is called after each of
    the `steps`, and the model has to be one like "open". Without `learn`, or by another model, the word is found by
    its pronunciation alone, which is quick, and worse.

    The threshold is 0.5, or lower, down to 0.3, if more than a fifth of the recordings score lower, as heard by what
    the others taught: calibrate it then on the sound of the room (`evaluation.room`). It is put above the scores of
    `negatives`.

    Raises:
        UsageError: for fewer than three recordings, or a text in place of a list; for voices that teach nothing, or
            that take longer than five seconds for a phrase.
        UnknownKeywordError: if voices alone are to say a word, and nobody knows how it is said.
        MissingDependencyError: if no synthetic voice is installed.
        AudioError: if recordings are silent, clipped, too long, unlike the others or the same as one of them; it names
            each and says why.
    """
    spotter = Spotter.load(pretrained.OPEN) if spotter is None else spotter
    for files in (recordings, negatives):
        if isinstance(files, str | os.PathLike):
            raise UsageError(
                f"'{files}' in place of a list of files; lcspeech.audio.find_audio lists those of a folder"
            )
        if isinstance(files, np.ndarray):
            raise UsageError("one array of samples in place of a list of recordings; give [samples, ...]")
    recordings, negatives = list(recordings), list(negatives)
    given = name.within(spotter.units) if isinstance(name, Keyword) else None
    told = name.name if isinstance(name, Keyword) else name
    if len(recordings) < FEWEST and (recordings or not voices):
        raise UsageError(f"{len(recordings)} recordings of '{told}'; give at least {FEWEST}, five are better")
    learns = learn and spotter.card.hidden > 0
    if voices and not learns:
        raise UsageError("nothing is learned from voices so; let it learn, for the model 'open'")
    unwanted = [_negative(i, one, spotter, sample_rate) for i, one in enumerate(negatives, start=1)]
    clips = _Clips.of(recordings, spotter, sample_rate)
    if given is None and not recordings:
        given = spotter.keyword(told)
    spelled = given.sequences if given else _spelled(told, spotter)
    fit = clips.fit(spelled) if recordings else None
    if given is None and fit and not fit.likeliest(spelled):
        spelled = ()  # they hold another word
    if learns:
        keyword = Keyword(told, spelled or (fit.best(SEQUENCES) if fit else ()), units=spotter.units)
        keyword, scores = _learned(keyword, clips, voices, unwanted, on_step)
    else:
        assert fit is not None
        keyword, scores = _heard(told, clips, fit, given.sequences if given else fit.likeliest(spelled))
    threshold = VOICES_THRESHOLD
    if scores:
        wanted = sorted(scores, reverse=True)[math.ceil(_SHARE_HEARD * len(scores)) - 1]
        threshold = min(THRESHOLD, max(LOWEST_THRESHOLD, wanted))
    threshold = max([threshold, *(_peak(spotter, keyword, samples) + _MARGIN for samples in unwanted)])
    rounded = tuple(round(score, 4) for score in scores)
    threshold = min(1.0, math.floor(threshold * 1e4) / 1e4)
    return dataclasses.replace(keyword, threshold=threshold, scores=rounded, model=spotter.card.name)


def steps(recordings: int) -> int:
    """In how many steps a word is learned from so many recordings."""
    return learning.HEARING + learning.STEPS * (1 + min(FOLDS, recordings))


def _learned(
    keyword: Keyword, clips: _Clips, voices: bool, negatives: Sequence[Floats], on_step: Callable[[], None]
) -> tuple[Keyword, list[float]]:
    """The keyword with a head, and the recordings' scores, each by heads that were learned without it."""
    spoken = _spoken(keyword, clips.spotter) if voices else []
    learner = learning.Learner(keyword, clips.spotter, clips.samples, spoken, negatives, on_step=on_step)
    scores = dict[int, float]()
    for first in range(min(FOLDS, len(clips.samples))):
        others = range(first, len(clips.samples), FOLDS)
        of_the_rest = learner.learn(others, on_step)
        scores |= {i: _peak(clips.spotter, of_the_rest, clips.samples[i]) for i in others}
    return learner.learn(on_step=on_step), [scores[i] for i in sorted(scores)]


def _heard(name: str, clips: _Clips, fit: Fit, known: tuple[tuple[int, ...], ...]) -> tuple[Keyword, list[float]]:
    """The keyword by its pronunciations alone, and the recordings' scores, each measured with the others alone."""
    spotter, count = clips.spotter, SEQUENCES
    if known:
        varied = [*known, *substituted(known[0], len(spotter.units))]
        fit, count = Fit.of(clips.log_probs, [varied] * len(clips.samples), spotter.card.open), len(known) + VARIANTS

    def keyword(fit: Fit) -> Keyword:
        return Keyword(name, fit.best(count, known), units=spotter.units)

    scores = [_peak(spotter, keyword(fit.without(i)), clip) for i, clip in enumerate(clips.samples)]
    return keyword(fit), scores


def _peak(spotter: Spotter, keyword: Keyword, samples: Floats) -> float:
    return spotter.replace(keywords=[keyword]).peak(samples, spotter.card.features.sample_rate)


def understood(spotter: Spotter, samples: Floats, sample_rate: int) -> tuple[str, ...]:
    """The likeliest units of a recording ``[n]``, as symbols; () for none."""
    heard = likeliest_sequences(spotter.log_probs(samples, sample_rate=sample_rate), 1)[0]
    return tuple(spotter.units.symbols[unit] for unit in heard)


def read_recording(recording: Audio, rate: int, sample_rate: int | None = None) -> Floats:
    """A recording at `rate`, without what is silent at both ends of a long one; no more of a file than may be read."""
    parts = [np.empty(0, np.float32)]
    if isinstance(recording, str | os.PathLike):
        for block in read_blocks(recording, rate):
            parts.append(block)
            if sum(map(len, parts)) > _MOST_SECONDS * rate:
                break
    else:
        parts.append(_samples(recording, rate, sample_rate))
    samples = np.concatenate(parts)
    if len(samples) <= LONGEST_SECONDS * rate:
        return samples
    start, end = voiced(samples, rate)
    return samples[max(0, round((start - _AROUND_SECONDS) * rate)) : round((end + _AROUND_SECONDS) * rate)]


def fault(samples: Floats, sample_rate: int) -> str:
    """What makes a recording ``[n]`` unfit to learn a word from, and the remedy; "" if nothing does."""
    peak = float(abs(samples).max(initial=0.0))
    window = np.ones(sample_rate // 50) / (sample_rate // 50)
    power = np.convolve(samples**2, window).max() if len(samples) else 0.0
    if power < 10 ** (_SILENT_DB / 10):
        return "it is silent; check the microphone and its level"
    start, end = (round(edge * sample_rate) for edge in voiced(samples, sample_rate))
    if len(samples) > LONGEST_SECONDS * sample_rate:
        return f"{len(samples) / sample_rate:.1f} s is too long; cut it to one word, {LONGEST_SECONDS:g} s at most"
    if peak >= _LOUD and np.mean(abs(samples[start : end + 1]) >= _FULL_SCALE * peak) > _CLIPPED_SHARE:
        return "it is clipped; turn the microphone down or speak further from it"
    return ""


@dataclass(frozen=True, eq=False)
class Fit:
    """How well unit sequences explain recordings: log-probabilities ``[recordings, sequences]``."""

    sequences: tuple[tuple[int, ...], ...]
    log_probs: NDArray[np.float64]
    own: NDArray[np.bool_]  # which sequences were decoded from which recording, of the same shape
    rarity: NDArray[np.float64]  # nats for each sequence, the more the less talk at large is taken for it

    @classmethod
    def of(
        cls,
        heard: Sequence[NDArray[np.floating]],
        decoded: Sequence[Sequence[tuple[int, ...]]],
        scores: OpenSettings,
    ) -> Fit:
        """Of recordings' log-probs ``[frames, units]`` and the sequences that were decoded from each."""
        sequences = tuple(dict.fromkeys(sequence for found in decoded for sequence in found))
        lattice = Lattice.build([[sequence] for sequence in sequences])
        own = np.array([[sequence in found for sequence in sequences] for found in decoded])
        rare = np.array([rarity(scores, sequence) / scores.slope for sequence in sequences])
        return cls(sequences, np.stack([sequence_log_probs(x, lattice) for x in heard]), own, rare)

    def without(self, recording: int) -> Fit:
        """As if one recording had not been made."""
        own = np.delete(self.own, recording, axis=0)
        kept = np.flatnonzero(own.any(axis=0))
        sequences = tuple(self.sequences[i] for i in kept)
        log_probs = np.delete(self.log_probs, recording, axis=0)[:, kept]
        return Fit(sequences, log_probs, own[:, kept], self.rarity[kept])

    def misfit(self, recording: int) -> float:
        """Nats by which the others' best sequence explains a recording worse than its own best."""
        row, others = self.log_probs[recording], np.delete(self.own, recording, axis=0).any(0)
        return float(row.max() - row[others].max())

    def likeliest(self, spelled: Collection[tuple[int, ...]]) -> tuple[tuple[int, ...], ...]:
        """That of the dictionary's spellings which explains the recordings best; () if they hold another word."""
        log_probs, known = self._explained, [i for i, sequence in enumerate(self.sequences) if sequence in spelled]
        if not known:
            return ()
        best = known[int(log_probs[:, known].sum(0).argmax())]
        return (self.sequences[best],) if np.median(log_probs.max(1) - log_probs[:, best]) <= _MISSPELLED_NATS else ()

    def best(self, count: int, kept: Collection[tuple[int, ...]] = ()) -> tuple[tuple[int, ...], ...]:
        """Up to `count` sequences: those `kept`, then each that adds most to the probability of all recordings.

        By that of the recordings alone, not against talk, it would be the shortest: fewer units, fewer that could be
        wrong.
        """
        log_probs, chosen = self._explained, [self.sequences.index(sequence) for sequence in kept]
        while len(chosen) < min(count, len(self.sequences)):
            total = np.logaddexp.reduce(log_probs[:, chosen], axis=1, initial=-np.inf)
            gain = np.logaddexp(total[:, None], log_probs).sum(0)
            gain[chosen] = -np.inf
            chosen.append(int(gain.argmax()))
        return tuple(self.sequences[i] for i in chosen)

    @property
    def _explained(self) -> NDArray[np.float64]:
        return self.log_probs + self.rarity


def substituted(sequence: tuple[int, ...], units: int) -> Iterator[tuple[int, ...]]:
    """All sequences that differ from one in a single unit, of so many with the blank."""
    for i, unit in enumerate(sequence):
        for other in range(BLANK + 1, units):
            if other != unit:
                yield (*sequence[:i], other, *sequence[i + 1 :])


@dataclass(frozen=True, eq=False)
class _Clips:
    """Recordings that are fit to learn from, and how the network hears them."""

    spotter: Spotter
    labels: list[str]
    samples: list[Floats]  # at the model's rate
    log_probs: list[NDArray[np.float64]]  # softened

    @classmethod
    def of(cls, recordings: Sequence[Audio], spotter: Spotter, sample_rate: int | None) -> _Clips:
        """Read, and refused if they are unfit."""
        rate = spotter.card.features.sample_rate
        files = [recording if isinstance(recording, str | os.PathLike) else None for recording in recordings]
        labels = [f"'{file}'" if file else f"recording {i}" for i, file in enumerate(files, start=1)]
        clips = [_read(label, one, spotter, sample_rate) for label, one in zip(labels, recordings, strict=True)]
        _refuse([(label, fault(clip, rate)) for label, clip in zip(labels, clips, strict=True)])
        same = "it is the same recording as another; record the word once more"
        repeated = [any(np.array_equal(clip, other) for other in clips[:i]) for i, clip in enumerate(clips)]
        _refuse([(label, same if again else "") for label, again in zip(labels, repeated, strict=True)])
        temperature = spotter.card.open.temperature
        heard = [soften(spotter.log_probs(clip, sample_rate=rate), temperature) for clip in clips]
        return cls(spotter, labels, clips, heard)

    def fit(self, spelled: Collection[tuple[int, ...]]) -> Fit:
        """How what was decoded from each, and what is `spelled`, explains them; refused if one is of another word."""
        card = self.spotter.card
        bonus = _BONUS * np.array([rarity(card.open, [unit]) for unit in range(len(card.units))]) / card.open.slope
        decoded = [
            [s for s in likeliest_sequences(x, _CANDIDATES, bonus) if len(s) >= _SHORTEST] for x in self.log_probs
        ]
        nothing = "no word can be heard in it; record it again, nearer and louder"
        _refuse([(label, "" if found else nothing) for label, found in zip(self.labels, decoded, strict=True)])
        fit = Fit.of(self.log_probs, [[*found, *spelled] for found in decoded], card.open)
        unlike = "it is unlike the others; record the same word again"
        misfits = [fit.misfit(i) for i in range(len(decoded))]
        most = float(np.median(misfits)) + _UNLIKE_NATS
        _refuse([(label, unlike if far > most else "") for label, far in zip(self.labels, misfits, strict=True)])
        return fit


def _spelled(name: str, spotter: Spotter) -> tuple[tuple[int, ...], ...]:
    """How the dictionary says `name`; () if it does not know, or the units are no phonemes."""
    try:
        return spotter.keyword(name).sequences
    except LcspeechError:
        return ()


def _spoken(keyword: Keyword, spotter: Spotter) -> list[Floats]:
    """A keyword as the voices say it: as it is written, but by its phonemes where each would guess others."""
    try:
        usual = spotter.keyword(keyword.name).sequences == keyword.sequences
        as_written = usual and keyword.name.isascii() and not spell(keyword.name).guessed
    except LcspeechError:
        as_written = False
    rate = spotter.card.features.sample_rate
    said = say([keyword.name] if as_written else keyword.symbols, VOICES)
    if np.median([len(samples) for samples in said]) > LONGEST_SECONDS * RATE:
        raise UsageError(f"voices take longer than {LONGEST_SECONDS:g} s for '{keyword.name}'; give a shorter phrase")
    return [resampled(samples, RATE, rate) for samples in said]


def _samples(audio: Audio, rate: int, sample_rate: int | None) -> Floats:
    """All of it at `rate`, ``[n]``."""
    if isinstance(audio, str | os.PathLike):
        return read_samples(Path(audio), rate)
    if sample_rate is None:
        raise UsageError("samples without their sample_rate; pass sample_rate=16000, or whatever it is in Hz")
    return resampled(to_mono(np.asarray(audio)), sample_rate, rate)


def _read(label: str, recording: Audio, spotter: Spotter, sample_rate: int | None) -> Floats:
    try:
        return read_recording(recording, spotter.card.features.sample_rate, sample_rate)
    except AudioError as error:
        if isinstance(recording, str | os.PathLike):
            raise  # it names the file
        raise AudioError(f"{label}: {error}") from error


def _negative(place: int, recording: Audio, spotter: Spotter, sample_rate: int | None) -> Floats:
    try:
        return _samples(recording, spotter.card.features.sample_rate, sample_rate)
    except AudioError as error:
        if isinstance(recording, str | os.PathLike):
            raise  # it names the file
        raise AudioError(f"negative {place}: {error}") from error


def _refuse(faults: Sequence[tuple[str, str]]) -> None:
    """Raise for those recordings that have a fault, all at once."""
    said = [f"{label}: {fault}" for label, fault in faults if fault]
    if said:
        raise AudioError("; ".join(said))
