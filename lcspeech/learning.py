"""A keyword's own head, learned in under a minute from a few recordings, or from what synthetic voices make of it.

The network spells words that it was never trained to tell, and hears what sounds alike. The head that is learned here
(heads.py) is to hear the word more surely, as other voices, rooms, microphones and noises would make of it what was
recorded, and less surely what it is taken for in talk (`pretrained/talk.ogg`, which is shipped for it). Both count as
the search scores them: by the log-odds of hits, whose gradient is that of the forward-backward algorithm (Graves et al.
2006, section 4). What it says of talk is otherwise held to what the network says, so that a few recordings do not undo
its phonemes. The network stays as it is: it hears everything once, and then a step takes some hundredths of a second.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from lcspeech import pretrained, variation
from lcspeech.card import FeatureSettings, OpenSettings, SearchSettings
from lcspeech.errors import ModelError
from lcspeech.evaluation.datasets import read_samples
from lcspeech.evaluation.levels import levelled, rms, voiced
from lcspeech.features import log_mel
from lcspeech.heads import Head
from lcspeech.scoring import Lattice, soften
from lcspeech.search import middle, sequence_weights
from lcspeech.spotter import Spotter
from lcspeech.units import BLANK, Keyword

_Job = TypeVar("_Job")
Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]

TALK = "talk.ogg"  # beside the shipped models
STEPS = 200
HEARING = 300  # progress steps that stand for hearing everything once, which takes as long as so many training steps
_RATE, _MOMENTUM, _SQUARES = 3e-3, 0.9, 0.999  # Adam's
_WARM = 0.1  # of the steps, in which the rate rises; then it falls along a cosine
_AVERAGE = 0.98  # decay of the running average of the weights, which is what is kept
_SAID, _TALKING, _NOISY = 64, 128, 16  # rows of a batch: of the word, of talk, and of noise alone
_HARD = 0.5  # share of the talk, or noise in its place, drawn by how much of the word was heard in it
_MARGIN = 3.0  # nats, by which recordings are to be above the score of an average word at 0.5, and talk below it
_KEEP = 80.0  # weight of the divergence from what the network says of talk
_VARIED, _FEWEST = 480, 8  # rows that all recordings are made into, and each at least
_TALK_COPIES = 2  # of the talk, varied, beside the talk as it is
_TALK_SECONDS = 3.2
_LEAST_NEGATIVE = 0.1  # of the length of shipped talk, as which negatives count if they are shorter
_LEAST_TALK_SECONDS = 1200.0  # that there are of it
_NOISES = 400  # rows of noise alone, which come first
_BEFORE, _AFTER, _ROOM = 0.5, 0.6, 0.5  # seconds around a recording at least, for the pauses that the search asks for
_EDGES = (0.1, 0.15)  # seconds that stay before and after the loud part of a recording
_SPEED, _TEMPO = 0.16, 0.16  # as which other voices speak; the first moves their formants, too
_NOISE, _SNR_DB, _BABBLE = 0.6, (3.0, 28.0), 0.3  # chance of noise, its level, and how often it is other talk
_REVERBERANT, _NARROW = 0.15, 0.1  # chance of a room, and of a narrow band
_TINY = 1e-290  # below which a hit has no slope left


@dataclass(frozen=True, eq=False)
class Rows:
    """What the network gives for pieces of sound, all of one length."""

    hidden: NDArray[np.floating]  # [rows, frames, hidden]; kept in float16, which is exact enough and half as large
    log_probs: Floats  # of blank and the keyword's units [rows, frames, units], softened as for the search

    def __len__(self) -> int:
        return len(self.hidden)

    def take(self, places: NDArray[np.intp]) -> Rows:
        """Some of the rows."""
        return Rows(self.hidden[places].astype(np.float32), self.log_probs[places])


class Learner:
    """What heads of a keyword are learned from, as the network hears it: recordings, synthetic voices, and talk."""

    def __init__(
        self,
        keyword: Keyword,
        spotter: Spotter,
        recordings: Sequence[Floats],
        spoken: Sequence[Floats] = (),
        negatives: Sequence[Floats] = (),
        seed: int = 0,
        on_step: Callable[[], None] = lambda: None,
    ) -> None:
        """All are samples ``[n]`` at the model's rate: of the keyword `recordings` and what is `spoken` by synthetic
        voices, which have equal shares if there are both, and `negatives`, in which it is not said; as much of them
        counts as there is talk, 23 minutes. `on_step` is called `HEARING` times.

        Raises:
            ModelError: if the shipped talk is missing.
        """
        self.keyword, self.spotter, self._seed = keyword, spotter, seed
        path = pretrained.shipped() / TALK
        if not path.is_file():
            raise ModelError(f"'{path}' is missing, which learning needs; install lcspeech again")
        talk = read_samples(path, self._rate)
        if len(talk) < _LEAST_TALK_SECONDS * self._rate:
            raise ModelError(f"'{path}' is cut off, which learning needs whole; install lcspeech again")
        if unwanted := [levelled(samples, self._rate) for samples in negatives if len(samples)]:
            together = np.concatenate(unwanted)[: len(talk)]
            talk = np.concatenate([talk, np.tile(together, max(1, round(_LEAST_NEGATIVE * len(talk) / len(together))))])
        self._talk = talk
        self._shape = Shape.of(keyword, spotter)
        random = np.random.default_rng(seed)
        sources = [clips for clips in (recordings, spoken) if len(clips)]
        copies = [max(_FEWEST, _VARIED // len(clips)) for clips in sources for _ in clips]
        self._of = np.repeat(np.arange(len(copies)), copies)  # the clip that each row is made of
        shares = np.concatenate([np.full(len(clips), 1 / len(clips)) for clips in sources])
        self._shares = (shares / copies)[self._of]
        self._said = self._hear_clips([_word(clip, self._rate) for clips in sources for clip in clips], random, on_step)
        self._talking = self._hear_talk(random, on_step)

    def learn(self, without: Sequence[int] = (), on_step: Callable[[], None] = lambda: None) -> Keyword:
        """The keyword with a head, learned from all but some recordings, given by their numbers.

        `on_step` is called `STEPS` times. The same sounds and seed give the same head, on one machine.
        """
        shares = np.where(np.isin(self._of, without), 0, self._shares)
        random = np.random.default_rng([self._seed, 1])
        weights = _train(self._shape, self._said, shares, self._talking, random, on_step)
        head = Head.of(self.spotter.card.name, self.spotter.encoder.sha256, weights)
        return dataclasses.replace(self.keyword, head=head)

    @property
    def _features(self) -> FeatureSettings:
        return self.spotter.card.features

    @property
    def _rate(self) -> int:
        return self._features.sample_rate

    def _hear_talk(self, random: np.random.Generator, on_step: Callable[[], None]) -> Rows:
        """Talk, as it is and varied, and noise alone."""
        count = round(_TALK_SECONDS * self._rate)
        most = math.ceil(count * (1 + _SPEED) * (1 + _TEMPO))  # that pieces of so much may be made of

        def hear(job: tuple[int | None, np.random.Generator | None]) -> tuple[Floats, Floats]:
            place, child = job
            if place is None:
                assert child is not None
                noise = variation.made_up_noise(variation.even(count), self._rate, child)
                piece = variation.by_a_microphone(noise, self._rate, _NARROW, child)
            else:
                piece = np.take(self._talk, np.arange(place, place + (most if child else count)), mode="wrap")
                if child:
                    return self._hear(self._varied(piece, child, count), count)
            return self._hear(log_mel(piece, self._features), count)

        jobs: list[tuple[int | None, np.random.Generator | None]] = [(None, child) for child in random.spawn(_NOISES)]
        for copy in range(1 + _TALK_COPIES):
            places = range(int(random.integers(count)) if copy else 0, len(self._talk), count)
            jobs += zip(places, random.spawn(len(places)) if copy else [None] * len(places), strict=True)
        return _rows(hear, jobs, on_step)

    def _hear_clips(self, clips: Sequence[Floats], random: np.random.Generator, on_step: Callable[[], None]) -> Rows:
        """Rows with a clip somewhere in each, varied."""
        longest = max(map(len, clips)) / (1 - _SPEED) / (1 - _TEMPO)
        count = math.ceil(longest + (_BEFORE + _AFTER + _ROOM) * self._rate)

        def hear(job: tuple[int, np.random.Generator]) -> tuple[Floats, Floats]:
            clip, child = job
            return self._hear(self._varied(clips[clip], child, count, place=True), count)

        return _rows(hear, [*zip(self._of.tolist(), random.spawn(len(self._of)), strict=True)], on_step)

    def _hear(self, mel: Floats, count: int) -> tuple[Floats, Floats]:
        """A row of so many samples, from its log-mel: hidden and log-probs, after silence."""
        card, encoder = self.spotter.card, self.spotter.encoder
        stride = card.time_stride
        frames = (count - self._features.window) // self._features.hop // stride * stride
        rows, _ = encoder.run(mel[:frames], self.spotter.quiet)
        log_probs = soften(rows[:, : len(card.units)], card.open.temperature)[:, list(self.keyword.head_units)]
        return rows[:, card.columns - card.hidden :].copy(), log_probs.astype(np.float32)

    def _varied(self, samples: Floats, random: np.random.Generator, count: int, place: bool = False) -> Floats:
        """Log-mel ``[frames, bands]`` of so many samples: by another voice, in a room, in noise, by a microphone.

        What is given is placed at random among them, or begins at once.
        """
        rate, tempo = self._rate, random.uniform(1 - _TEMPO, 1 + _TEMPO)
        length = variation.even(count * tempo + self._features.window)  # that become so many
        x = variation.faster(samples, rate, random.uniform(1 - _SPEED, 1 + _SPEED))
        if place:
            before, after = round(_BEFORE * rate), round(_AFTER * rate)
            start = before + int(random.integers(max(1, length - len(x) - before - after)))
            x = np.concatenate([np.zeros(start, np.float32), x])
        x = np.concatenate([x, np.zeros(max(0, length - len(x)), np.float32)])[:length]
        if random.random() < _REVERBERANT:
            x = variation.in_a_room(x, rate, random)
        if random.random() < _NOISE:
            x = x + self._noise(len(x), random) * np.float32(
                variation.loudness(x, rate) / 10 ** (random.uniform(*_SNR_DB) / 20)
            )
        mel = log_mel(variation.by_a_microphone(x, rate, _NARROW, random), self._features)
        positions = np.arange(count // self._features.hop) * tempo
        left = np.minimum(positions.astype(np.intp), len(mel) - 2)
        share = np.minimum(positions - left, 1).astype(np.float32)[:, None]
        return np.asarray(mel[left] * (1 - share) + mel[left + 1] * share)

    def _noise(self, count: int, random: np.random.Generator) -> Floats:
        """Made-up noise, or other talk, of a level of 1."""
        if random.random() < _BABBLE:
            place = int(random.integers(len(self._talk)))
            noise = np.take(self._talk, np.arange(place, place + count), mode="wrap")
        else:
            noise = variation.made_up_noise(count, self._rate, random)
        return np.asarray(noise / max(1e-6, rms(noise)), np.float32)


@dataclass(frozen=True, eq=False)
class Shape:
    """A keyword's lattice over the columns of its head, and how its hits are searched and scored."""

    lattice: Lattice  # of the columns
    weights: Doubles  # what the mass of each sequence counts
    middle: float  # the log-odds that score 0.5
    search: SearchSettings

    @classmethod
    def of(cls, keyword: Keyword, spotter: Spotter) -> Shape:
        column = {unit: i for i, unit in enumerate(keyword.head_units)}
        sequences = [[column[unit] for unit in sequence] for sequence in keyword.sequences]
        opened: OpenSettings = spotter.card.open
        weights = sequence_weights(keyword, opened)
        return cls(Lattice.build([sequences]), weights, middle(keyword, opened), spotter.card.open_search)

    def hits(self, log_probs: NDArray[np.floating]) -> tuple[Doubles, Doubles]:
        """Expected number of hits in each row, ``[rows, frames, columns] -> [rows]``, and its slope by the log-probs.

        It is the mass that decoder.py scores, summed over all frames. Beyond both ends of a row all frames are blank.
        """
        lattice, before, after = self.lattice, self.search.blanks_before, self.search.blanks_after
        probs = np.exp(log_probs.swapaxes(0, 1).astype(np.float64))  # frames first
        frames, rows, _ = probs.shape
        emissions, states = probs[:, :, lattice.labels], len(lattice.labels)
        outside = np.ones((max(before, after), rows))
        blanks = np.concatenate([outside, probs[:, :, BLANK], outside])
        runs = np.lib.stride_tricks.sliding_window_view
        begun = runs(blanks, before, 0)[len(outside) - before :][:frames].prod(2)  # a run of blanks ends before a frame
        over = runs(blanks, after, 0)[len(outside) + 1 :][:frames].prod(2)  # one begins after it
        starts = np.flatnonzero(lattice.first)
        finals = lattice.last - 1
        by_one, by_two = (~lattice.first).astype(np.float64), lattice.skip.astype(np.float64)
        alphas, alpha = np.empty((frames, rows, states)), np.zeros((rows, states + 2))  # two dead states in front
        for t in range(frames):
            alpha[:, starts + 2] = begun[t][:, None] * self.weights  # nothing else is in a leading blank
            new = (alpha[:, 2:] + alpha[:, 1:-1] * by_one + alpha[:, :-2] * by_two) * emissions[t]
            new[:, starts] = 0.0
            alphas[t] = alpha[:, 2:] = new
        ended = alphas[:, :, finals].sum(2) * over
        # Backwards: the mass of all that follows a state, its own frame left out
        slope, beta = np.zeros_like(probs), np.zeros((rows, states + 2))
        entered = np.zeros((frames, rows))
        labels = np.eye(probs.shape[2])[lattice.labels]
        for t in range(frames - 1, -1, -1):
            beta[:, finals] += over[t][:, None]
            flow = beta * np.pad(emissions[t], ((0, 0), (0, 2)))
            slope[t] = (alphas[t] * beta[:, :-2]) @ labels
            entered[t] = (begun[t][:, None] * self.weights * flow[:, starts + 1]).sum(1)
            beta = np.zeros_like(beta)
            beta[:, :-2] = flow[:, :-2] + flow[:, 1:-1] * _next(by_one) + flow[:, 2:] * _next(by_two, 2)
            beta[:, starts] = 0.0
        for lag in range(1, before + 1):  # the blanks that a hit asks for around it
            slope[:-lag, :, BLANK] += entered[lag:]
        for lag in range(1, after + 1):
            slope[lag:, :, BLANK] += ended[:-lag]
        return ended.sum(0), slope.swapaxes(0, 1)


def _next(moves: Doubles, by: int = 1) -> Doubles:
    """Whether each state is left for the one after it (or the one after that)."""
    return np.concatenate([moves[by:], np.zeros(by)])


def _train(
    shape: Shape,
    said: Rows,
    shares: Doubles,
    talk: Rows,
    random: np.random.Generator,
    on_step: Callable[[], None],
) -> Doubles:
    """The averaged weights ``[hidden + 1, units]`` after all steps; `shares` say how often a row of `said` is drawn."""
    weights = np.zeros((said.hidden.shape[2] + 1, said.log_probs.shape[2]))
    first, second, average = np.zeros_like(weights), np.zeros_like(weights), np.zeros_like(weights)
    hardness = np.concatenate([_sigmoid(_odds(shape, part.log_probs)[0]) for part in _parts(talk)])
    for step in range(STEPS):
        likely = np.sqrt(np.maximum(hardness, 1e-12))
        hard = random.choice(len(talk), int(_HARD * _TALKING), p=likely / likely.sum())
        others = random.integers(_NOISES, len(talk), size=_TALKING - len(hard))
        places = np.concatenate([hard, others, random.integers(_NOISES, size=_NOISY)])
        spoken = said.take(random.choice(len(said), _SAID, p=shares / shares.sum()))
        _, gradient = _loss(shape, spoken, weights, is_said=True)
        odds, other = _loss(shape, talk.take(places), weights, is_said=False)
        hardness[places] = _sigmoid(odds)
        gradient += other
        rate = _RATE * _schedule(step / STEPS)
        first += (1 - _MOMENTUM) * (gradient - first)
        second += (1 - _SQUARES) * (gradient**2 - second)
        weights -= (
            rate * first / (1 - _MOMENTUM ** (step + 1)) / (np.sqrt(second / (1 - _SQUARES ** (step + 1))) + 1e-8)
        )
        average += (1 - min(_AVERAGE, (step + 1) / (step + 10))) * (weights - average)
        on_step()
    return average


def _loss(shape: Shape, rows: Rows, weights: Doubles, is_said: bool) -> tuple[Doubles, Doubles]:
    """The log-odds of hits in each row, and the slope of the mean loss by the weights.

    The loss is how far they are on the wrong side of the word's middle, or on the right one by less than a margin; of
    talk, the divergence from what the network says as well.
    """
    # As Heads.log_probs makes them
    moved = rows.hidden @ weights[:-1].astype(np.float32) + weights[-1].astype(np.float32)
    known = np.exp(rows.log_probs.astype(np.float64))
    mass = known * np.exp(moved)
    total = 1 + (mass - known).sum(2, keepdims=True)
    own = mass / total
    odds, slope = _odds(shape, rows.log_probs + moved - np.log(total))
    sign = -1.0 if is_said else 1.0
    slope *= (sign * _sigmoid(_MARGIN + sign * (odds - shape.middle)) / len(rows))[:, None, None]
    slope -= own * slope.sum(2, keepdims=True)
    if not is_said:
        slope += _KEEP / own[:, :, 0].size * (own - known)
    flat = slope.reshape(-1, slope.shape[2]).astype(np.float32)
    hidden = rows.hidden.reshape(len(flat), -1)
    return odds, np.concatenate([hidden.T @ flat, flat.sum(0)[None]]).astype(np.float64)


def _odds(shape: Shape, log_probs: NDArray[np.floating]) -> tuple[Doubles, Doubles]:
    """Log-odds of any hit in each row, and their slope by the log-probs.

    As many as are expected, more than one of a word that is said twice, leave a probability of none of exp(-hits).
    """
    hits, slope = shape.hits(log_probs)
    hits = np.maximum(hits, _TINY)
    slope /= -np.expm1(-hits)[:, None, None]
    return np.log(np.expm1(hits)), slope


def _parts(rows: Rows) -> Iterator[Rows]:
    for start in range(0, len(rows), _TALKING):
        yield rows.take(np.arange(start, min(start + _TALKING, len(rows))))


def _schedule(done: float) -> float:
    return done / _WARM if done < _WARM else 0.5 * (1 + math.cos(math.pi * (done - _WARM) / (1 - _WARM)))


def _sigmoid(odds: Doubles) -> Doubles:
    return np.asarray(1 / (1 + np.exp(-np.clip(odds, -700, 700))))


def _word(samples: Floats, rate: int) -> Floats:
    """A recording's loud part, at the usual level."""
    samples = levelled(samples, rate)
    start, end = voiced(samples, rate)
    return samples[max(0, round((start - _EDGES[0]) * rate)) : round((end + _EDGES[1]) * rate)]


def _rows(hear: Callable[[_Job], tuple[Floats, Floats]], jobs: Sequence[_Job], on_step: Callable[[], None]) -> Rows:
    """Of many pieces at once, in threads: numpy, the resampler and onnxruntime leave Python meanwhile.

    `on_step` is called half as often as `HEARING` says: talk and clips take half of it each.
    """
    rows = Rows(np.empty(0, np.float16), np.empty(0, np.float32))
    with ThreadPoolExecutor() as pool:
        for row, (hidden, log_probs) in enumerate(pool.map(hear, jobs)):
            if not row:
                count = len(jobs)
                rows = Rows(
                    np.empty((count, *hidden.shape), np.float16), np.empty((count, *log_probs.shape), np.float32)
                )
            rows.hidden[row], rows.log_probs[row] = hidden, log_probs
            steps, done = HEARING // 2, row + 1
            for _ in range(done * steps // len(jobs) - row * steps // len(jobs)):
                on_step()
    return rows
