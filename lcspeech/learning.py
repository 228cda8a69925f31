"""A keyword's own head, learned in half a minute from a few recordings, or from what synthetic voices make of it.

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

from lcspeech import pretrained
from lcspeech.audio import Resampler
from lcspeech.card import OpenSettings, SearchSettings
from lcspeech.errors import ModelError
from lcspeech.evaluation.datasets import read_samples
from lcspeech.evaluation.levels import LEVEL, levelled, rms, voiced
from lcspeech.features import log_mel
from lcspeech.heads import Head
from lcspeech.scoring import Lattice, soften
from lcspeech.search import middle, sequence_weights
from lcspeech.spotter import Spotter
from lcspeech.units import BLANK, Keyword

_Item = TypeVar("_Item")
_Made = TypeVar("_Made")
Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]

TALK = "talk.ogg"  # beside the shipped models
STEPS = 200
_RATE, _MOMENTUM, _SQUARES = 3e-3, 0.9, 0.999  # Adam's
_WARM = 0.1  # of the steps, in which the rate rises; then it falls along a cosine
_AVERAGE = 0.98  # decay of the running average of the weights, which is what is kept
_SAID, _TALKING = 64, 128  # rows of a batch: of the word, and of talk
_HARD = 0.5  # share of the talk drawn by how much of the word was heard in it
_MARGIN = 3.0  # nats, by which recordings are to be above the score of an average word at 0.5, and talk below it
_KEEP = 50.0  # weight of the divergence from what the network says of talk
_VARIED, _FEWEST = 480, 8  # rows that all recordings are made into, and each at least
_TALK_COPIES = 2  # of the talk, varied, beside the talk as it is
_TALK_SECONDS = 3.2
_LEAST_NEGATIVE = 0.1  # of the length of shipped talk, as which negatives count if they are shorter
_BEFORE, _AFTER, _ROOM = 0.5, 0.6, 0.5  # seconds around a recording at least, for the pauses that the search asks for
_EDGES = (0.1, 0.15)  # seconds that stay before and after the loud part of a recording
_SPEED, _TEMPO = 0.16, 0.16  # as which other voices speak; the first moves their formants, too
_GAIN_DB, _TILT_DB = 12.0, 8.0  # of a microphone: its level, and its slope to either end
_NARROW, _LOW_HZ, _HIGH_HZ = 0.1, (50.0, 400.0), (3000.0, 7900.0)  # chance of a narrow band, and its ends
_NOISE, _SNR_DB, _BABBLE = 0.6, (3.0, 28.0), 0.3  # chance of noise, its level, and how often it is other talk
_REVERBERANT, _RT60, _TAIL_DB = 0.15, (0.1, 0.6), (-15.0, 0.0)  # chance of a room, its seconds, and its loudness
_EVEN = 1600  # samples, of which there are a multiple: a Fourier transform is slow where they have large factors
_TINY = 1e-290  # below which a hit has no slope left


@dataclass(frozen=True, eq=False)
class Rows:
    """What the network gives for pieces of sound, all of one length."""

    hidden: Floats  # [rows, frames, hidden]
    log_probs: Floats  # of blank and the keyword's units [rows, frames, units], softened as for the search

    def __len__(self) -> int:
        return len(self.hidden)

    def take(self, places: NDArray[np.intp]) -> Rows:
        """Some of the rows."""
        return Rows(self.hidden[places], self.log_probs[places])


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
    ) -> None:
        """All are samples ``[n]`` at the model's rate: of the keyword `recordings` and what is `spoken` by synthetic
        voices, which have equal shares if there are both, and `negatives`, in which it is not said.

        Raises:
            ModelError: if the shipped talk is missing.
        """
        self.keyword, self.spotter, self._seed = keyword, spotter, seed
        path = pretrained.shipped() / TALK
        if not path.is_file():
            raise ModelError(f"'{path}' is missing, which learning needs; install lcspeech again")
        talk = [read_samples(path, self._rate)]
        if unwanted := [levelled(samples, self._rate) for samples in negatives if len(samples)]:
            together = np.concatenate(unwanted)
            talk += [together] * max(1, round(_LEAST_NEGATIVE * len(talk[0]) / len(together)))
        self._talk = np.concatenate(talk)
        self._shape = Shape.of(keyword, spotter)
        random = np.random.default_rng(seed)
        sources = [clips for clips in (recordings, spoken) if len(clips)]
        copies = [max(_FEWEST, _VARIED // len(clips)) for clips in sources for _ in clips]
        self._of = np.repeat(np.arange(len(copies)), copies)  # the clip that each row is made of
        shares = np.concatenate([np.full(len(clips), 1 / len(clips)) for clips in sources])
        self._shares = (shares / copies)[self._of]
        self._said = self._hear_clips([_word(clip, self._rate) for clips in sources for clip in clips], random)
        self._talking = self._hear_talk(random)

    def learn(self, without: Sequence[int] = (), on_step: Callable[[], None] = lambda: None) -> Keyword:
        """The keyword with a head, learned from all but some recordings, given by their numbers.

        `on_step` is called `STEPS` times. The same sounds and seed give the same head, on one machine.
        """
        shares = np.where(np.isin(self._of, without), 0, self._shares)
        random = np.random.default_rng([self._seed, 1])
        weights = _train(self._shape, self._said, shares, self._talking, random, on_step)
        return dataclasses.replace(self.keyword, head=Head.of(self.spotter.encoder.sha256, weights))

    @property
    def _rate(self) -> int:
        return self.spotter.card.features.sample_rate

    def _hear_talk(self, random: np.random.Generator) -> Rows:
        """Talk, as it is and varied."""
        count = round(_TALK_SECONDS * self._rate)
        room = math.ceil(count * (1 + _SPEED) * (1 + _TEMPO))

        def mel(job: tuple[int, np.random.Generator | None]) -> Floats:
            place, child = job
            piece = np.take(self._talk, np.arange(place, place + (room if child else count)), mode="wrap")
            return self._varied(piece, child, count) if child else log_mel(piece, self.spotter.card.features)

        jobs: list[tuple[int, np.random.Generator | None]] = []
        for copy in range(1 + _TALK_COPIES):
            places = range(int(random.integers(count)) if copy else 0, len(self._talk), count)
            jobs += zip(places, random.spawn(len(places)) if copy else [None] * len(places), strict=True)
        return self._rows(_in_threads(mel, jobs))

    def _hear_clips(self, clips: Sequence[Floats], random: np.random.Generator) -> Rows:
        """Rows with a clip somewhere in each, varied."""
        longest = max(map(len, clips)) / (1 - _SPEED) / (1 - _TEMPO)
        count = math.ceil(longest + (_BEFORE + _AFTER + _ROOM) * self._rate)
        jobs = [*zip(self._of.tolist(), random.spawn(len(self._of)), strict=True)]
        return self._rows(_in_threads(lambda job: self._varied(clips[job[0]], job[1], count, place=True), jobs))

    def _varied(self, samples: Floats, random: np.random.Generator, count: int, place: bool = False) -> Floats:
        """Log-mel ``[frames, bands]`` of so many samples: by another voice, in a room, in noise, by a microphone."""
        rate, tempo = self._rate, random.uniform(1 - _TEMPO, 1 + _TEMPO)
        length = (
            math.ceil((count * tempo + self.spotter.card.features.window) / _EVEN) * _EVEN
        )  # before the tempo changes
        x = _resampled(samples, rate, random.uniform(1 - _SPEED, 1 + _SPEED))
        if place:
            before, after = round(_BEFORE * rate), round(_AFTER * rate)
            start = before + int(random.integers(max(1, length - len(x) - before - after)))
            x = np.concatenate([np.zeros(start, np.float32), x])
        x = np.concatenate([x, np.zeros(max(0, length - len(x)), np.float32)])[:length]
        if random.random() < _REVERBERANT:
            x = _in_a_room(x, rate, random)
        if random.random() < _NOISE:
            x = x + self._noise(len(x), random) * np.float32(_loudness(x, rate) / 10 ** (random.uniform(*_SNR_DB) / 20))
        mel = log_mel(_by_a_microphone(x, rate, random), self.spotter.card.features)
        positions = np.arange(count // self.spotter.card.features.hop) * tempo
        left = np.minimum(positions.astype(np.intp), len(mel) - 2)
        share = np.minimum(positions - left, 1).astype(np.float32)[:, None]
        return np.asarray(mel[left] * (1 - share) + mel[left + 1] * share)

    def _noise(self, count: int, random: np.random.Generator) -> Floats:
        """Made-up noise, or other talk, of a level of 1."""
        if random.random() < _BABBLE:
            place = int(random.integers(len(self._talk)))
            noise = np.take(self._talk, np.arange(place, place + count), mode="wrap")
        else:
            noise = made_up_noise(count, self._rate, random)
        return np.asarray(noise / max(1e-6, rms(noise)), np.float32)

    def _rows(self, mels: Sequence[Floats]) -> Rows:
        """What the network gives for each, after silence."""
        card, encoder = self.spotter.card, self.spotter.encoder
        frames = min(map(len, mels)) // card.time_stride * card.time_stride
        heard = _in_threads(lambda mel: encoder.run(mel[:frames], self.spotter.quiet)[0], mels)
        units, hidden = len(card.units), card.columns - card.hidden
        own = list(self.keyword.head_units)
        log_probs = [soften(rows[:, :units], card.open.temperature)[:, own].astype(np.float32) for rows in heard]
        return Rows(np.stack([rows[:, hidden:] for rows in heard]), np.stack(log_probs))


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
        places = np.concatenate([hard, random.integers(len(talk), size=_TALKING - len(hard))])
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
    """Log-odds of hits in each row, and their slope by the log-probs."""
    hits, slope = shape.hits(log_probs)
    hits = np.clip(hits, _TINY, 1 - 1e-9)
    slope /= (hits * (1 - hits))[:, None, None]
    return np.log(hits) - np.log1p(-hits), slope


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


def _resampled(samples: Floats, rate: int, speed: float) -> Floats:
    resampler = Resampler(round(rate * speed), rate)
    return np.concatenate([resampler.process(samples), resampler.flush()])


def _loudness(x: Floats, rate: int) -> float:
    """RMS of the loudest tenth of a second: a short word in a long pause counts as it sounds."""
    power = np.add.reduceat(x.astype(np.float64) ** 2, np.arange(0, len(x), rate // 10))
    return math.sqrt(power.max() / (rate // 10))


def _in_a_room(x: Floats, rate: int, random: np.random.Generator) -> Floats:
    """With a synthetic room's decaying noise behind every sound."""
    count = round(random.uniform(*_RT60) * rate)
    tail = random.standard_normal(count) * 10 ** (-3 * np.arange(count) / count)
    tail *= 10 ** (random.uniform(*_TAIL_DB) / 20) / math.sqrt((tail**2).sum())
    size = math.ceil((len(x) + count) / _EVEN) * _EVEN
    wet = np.fft.irfft(np.fft.rfft(x, size) * np.fft.rfft(tail, size), size)[: len(x)]
    return np.asarray(x + wet, np.float32)


def _by_a_microphone(x: Floats, rate: int, random: np.random.Generator) -> Floats:
    """At another level, with a slope over the (logarithmic) spectrum, and sometimes with the ends of it cut off."""
    hz = np.fft.rfftfreq(len(x), 1 / rate)
    octaves = np.log(np.maximum(hz, 60) / 60) / math.log(rate / 2 / 60)  # 0 to 1
    gain = random.uniform(-_GAIN_DB, _GAIN_DB) + random.uniform(-_TILT_DB, _TILT_DB) * (2 * octaves - 1)
    if random.random() < _NARROW:
        low, high = random.uniform(*_LOW_HZ), random.uniform(*_HIGH_HZ)
        gain -= 60 * np.clip(1 - hz / low, 0, 1) + 60 * np.clip((hz - high) / 1000, 0, 1)
    return np.asarray(np.fft.irfft(np.fft.rfft(x) * 10 ** (gain / 20), len(x)), np.float32)


def made_up_noise(count: int, rate: int, random: np.random.Generator) -> Floats:
    """Noise of any colour, ``[count]``, with a few broad tones in it, louder and quieter by turns."""
    hz = np.fft.rfftfreq(count, 1 / rate)
    spectrum = np.fft.rfft(random.standard_normal(count)) / np.maximum(hz, 50) ** random.uniform(0, 1)
    for _ in range(random.integers(0, 4)):
        centre, width = np.exp(random.uniform(np.log(80), np.log(7000))), random.uniform(0.05, 0.5)
        bump = np.exp(-((np.log(np.maximum(hz, 1) / centre) / width) ** 2))
        spectrum *= 1 + random.uniform(0, 6) * bump
    turns = random.integers(2, 40)
    loudness = np.interp(
        np.arange(count), np.linspace(0, count, turns), random.standard_normal(turns) * random.uniform(0, 1.5)
    )
    samples = np.fft.irfft(spectrum, count) * np.exp(loudness)
    return np.asarray(samples * (LEVEL / rms(samples.astype(np.float32))), np.float32)


def _in_threads(work: Callable[[_Item], _Made], items: Sequence[_Item]) -> list[_Made]:
    """numpy, the resampler and onnxruntime leave Python meanwhile."""
    with ThreadPoolExecutor() as pool:
        return list(pool.map(work, items))
