"""Words of one's own, taught to the network itself: a model that knows them, typed or recorded, in a minute or two.

The model "open" spells words that it was never trained to tell, and hears what sounds alike. Here all its weights go on
from there: a few recordings, or what synthetic voices say for a typed word (voices.py), varied as other voices, rooms
and noises would vary them, are to be heard more surely, and talk (`pretrained/talk.ogg`, which is shipped for it) less
surely, both counted in the log-odds that the search scores. What it says of talk is otherwise held to what it said
before, so that a few voices do not undo its phonemes.
"""

from __future__ import annotations

import copy
import dataclasses
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.lr_scheduler import OneCycleLR

from lcspeech import pretrained
from lcspeech.card import DataSource, FeatureSettings, ModelCard, WordSpec
from lcspeech.enrollment import THRESHOLD, enroll, read_recording
from lcspeech.errors import LcspeechError, ModelError, UsageError
from lcspeech.evaluation.datasets import read_samples
from lcspeech.evaluation.levels import LEVEL, levelled, rms, voiced
from lcspeech.features import log_mel
from lcspeech.pronunciation import spell
from lcspeech.scoring import Lattice
from lcspeech.search import rarity
from lcspeech.spotter import LEADING_SECONDS, Spotter
from lcspeech.train import augment
from lcspeech.train.export import export
from lcspeech.train.loop import read_checkpoint
from lcspeech.train.losses import TINY, expected_hits
from lcspeech.train.network import Network
from lcspeech.train.voices import installed, say
from lcspeech.units import Keyword

Floats = NDArray[np.float32]

CHECKPOINT, TALK = "open.pt", "talk.ogg"  # beside the shipped models
_STEPS, _STEPS_MORE = 200, 60  # of one word, and for each word more
_RATE = 3e-4  # AdamW's, at its highest
_AVERAGE = 0.98  # decay of the running average of the weights, which is what is exported
_VOICES = 28  # by each program that says typed words
_TYPED_THRESHOLD = 0.7  # at which seven words that were only typed raised half a false alarm an hour, at 0.5 1.3
_SPOKEN, _TALKING = 12, 20  # rows of a batch: recordings, talk
_TALK_FRAMES = 320
_BEFORE, _AFTER = 50, 45  # frames around a recording at least: the pauses that the search asks for
_ROOM = 160  # frames of a row beyond its recording
_EDGES = (0.1, 0.15)  # seconds that stay before and after the loud part of a recording
_LEAST_NEGATIVE = 0.1  # of the length of shipped talk, as which negatives count if they are shorter
_HARD = 0.5  # share of the talk drawn by how much of the words was heard in it
_MARGIN = 3.0  # nats, by which recordings are to be above the score of an average word at 0.5, and talk below it
# Of the exported file: in an adapted network rounding alone has come to 0.0001, a wrong graph is off by 0.01
_TOLERANCE = 1e-3
_KEEP = 3.0  # weight of the divergence from what the network said of talk before
_WARP, _SPEED, _TILT_DB, _GAIN_DB = 0.16, 0.16, 8.0, 12.0  # five recordings are to stand for all voices
_NOISE, _SNR_DB, _BABBLE = 0.6, (3.0, 28.0), 0.3  # chance of noise, its level, and how often it is other talk
_REVERBERANT, _RT60, _NARROW = 0.15, (10.0, 60.0), 0.1  # chance of a room, its range in frames, and of a narrow band


def adapt(
    words: Mapping[str, Sequence[Path]],
    folder: Path,
    negatives: Sequence[Path] = (),
    seed: int = 0,
    on_step: Callable[[], None] = lambda: None,
    typed: Sequence[Keyword] = (),
) -> Spotter:
    """Make a model that knows words, and write its `folder`; returns its spotter.

    Each of `words` is learned from three or more recordings, which are held to what `enroll` asks of them, each
    of those `typed` from what synthetic voices make of it; a word of both has the typed one's spelling. Its threshold
    is 0.5, and 0.7 without recordings: what voices as many and as strange teach, talk is sooner taken for.
    `negatives` are recordings without the words, of a room or of words that sound like them, in which they are not to
    be heard; shipped talk is always among these. `on_step` is called after each of the `steps`. The same files, voices
    and `seed` give the same model, on one machine.

    Raises:
        UsageError: for too few recordings, for words that are said alike, or if `folder` is there and is anything but
            a model of this kind.
        AudioError: if recordings are unfit, see `enroll`.
        MissingDependencyError: if no synthetic voice is installed and words are typed.
    """
    if not words and not typed:
        raise UsageError("no words to learn; type them, or give a folder of recordings for each")
    shipped, base = pretrained.shipped(), Spotter.load(pretrained.OPEN)
    _check_free(folder.resolve())
    for name in (CHECKPOINT, TALK):
        if not (shipped / name).is_file():
            raise ModelError(f"'{shipped / name}' is missing, which adapting begins with; install lcspeech again")
    with pretrained.replacing(folder) as building:
        _adapt(words, typed, folder.resolve().name, building, base, negatives, seed, on_step)
    return Spotter.load(folder)


def _adapt(
    words: Mapping[str, Sequence[Path]],
    typed: Sequence[Keyword],
    model: str,
    building: Path,
    base: Spotter,
    negatives: Sequence[Path],
    seed: int,
    on_step: Callable[[], None],
) -> None:
    shipped, settings = pretrained.shipped(), base.card.features
    network, card = read_checkpoint(shipped / CHECKPOINT, settings)
    learned = {name: _keyword(name, files, base) for name, files in words.items()}
    for i, keyword in enumerate(typed):
        if any(keyword.name == other.name for other in typed[:i]):
            raise UsageError(f"'{keyword.name}' is typed twice; give its pronunciations at once, 'name=F OO | B AR'")
        threshold = THRESHOLD if keyword.name in words else _TYPED_THRESHOLD
        learned[keyword.name] = dataclasses.replace(keyword, threshold=threshold)
    keywords = [*learned.values()]
    for one, other in itertools.combinations(keywords, 2):
        if set(one.sequences) & set(other.sequences):
            raise UsageError(f"'{one.name}' and '{other.name}' are said alike; give both one name, or leave out one")
    rate = settings.sample_rate
    recorded = {name: [read_recording(file, rate) for file in files] for name, files in words.items()}
    spoken = {keyword.name: _spoken(keyword, base, seed) for keyword in typed}
    card = dataclasses.replace(_card(card, base.card, keywords, recorded, spoken, len(negatives)), name=model)
    sources = [
        [[_word(clip, settings) for clip in said[name]] for said in (recorded, spoken) if name in said]
        for name in learned
    ]
    talk = [log_mel(read_samples(shipped / TALK, rate), settings)]
    if negatives:
        unwanted = np.concatenate([log_mel(read_samples(file, rate), settings) for file in negatives])
        talk += [unwanted] * max(1, round(_LEAST_NEGATIVE * len(talk[0]) / len(unwanted)))
    material = _Material(sources, talk, settings, seed)
    network = _train(network, keywords, card, material, on_step)
    export(network, card, building / pretrained.MODEL, int8=True, tolerance=_TOLERANCE)
    (building / pretrained.CARD).write_text(card.to_json())
    pretrained.write_checksums(building)


def _check_free(folder: Path) -> None:
    """That nothing is lost when a model takes this place: there is none, or one of this kind and nothing else."""
    if folder.parent == pretrained.shipped().resolve():
        raise UsageError(f"'{folder}' is where a shipped model is; give another folder")
    if folder.is_dir() and not (
        (folder / pretrained.MODEL).is_file()
        and {path.name for path in folder.iterdir()} <= {pretrained.MODEL, pretrained.CARD, pretrained.CHECKSUMS}
    ):
        raise UsageError(f"'{folder}' is there, and holds other things than a model of one's own words; give another")


def _card(
    card: ModelCard,
    base: ModelCard,
    keywords: Sequence[Keyword],
    recorded: Mapping[str, Sequence[Floats]],
    spoken: Mapping[str, Sequence[Floats]],
    negatives: int,
) -> ModelCard:
    """That of a network which knows the keywords alone, and searches and scores them as open words of `base`."""
    voices = " and ".join(installed())
    own = [DataSource(f"Recordings of '{name}'", "yours", "", str(len(clips))) for name, clips in recorded.items()]
    own += [DataSource(f"'{name}' as {voices} say it", "made here", "", str(len(c))) for name, c in spoken.items()]
    if negatives:
        own.append(DataSource("Recordings without these words", "yours", "", str(negatives)))
    return dataclasses.replace(
        card,
        description=f"Words of one's own, which '{base.name}' was adapted to",
        keywords=tuple(WordSpec(keyword.name, keyword.symbols, keyword.threshold) for keyword in keywords),
        fillers=(),
        macs_per_second=base.macs_per_second,
        open=base.open,
        search=base.open_search,
        adapted=True,
        data=(*card.data, *own),
    )


def steps(words: int) -> int:
    """How many steps a training for so many words has."""
    return _STEPS + _STEPS_MORE * (words - 1)


class _Material:
    """What is drawn from, as log-mel: recordings of each word, and talk; noise is made up."""

    def __init__(
        self, spoken: Sequence[Sequence[Sequence[Floats]]], talk: Sequence[Floats], settings: FeatureSettings, seed: int
    ) -> None:
        random = np.random.default_rng(seed)
        self.generator = torch.Generator().manual_seed(seed)
        self.floor = float(np.log(settings.floor))
        # Of each word its sources, people and synthetic voices, which have equal shares
        self.spoken = [[[torch.from_numpy(clip) for clip in clips] for clips in sources] for sources in spoken]
        self.talk = torch.from_numpy(np.concatenate(talk))
        self.noise = torch.from_numpy(np.concatenate([_noise(settings, random) for _ in range(60)]))
        longest = max(len(clip) for sources in spoken for clips in sources for clip in clips)
        self.frames = (longest + _slower(longest) + _ROOM) // 4 * 4  # the network's stride
        self.hardness = torch.zeros(-(-len(self.talk) // _TALK_FRAMES))  # of each piece of talk

    def recordings(self) -> tuple[Tensor, Tensor]:
        """Rows with a recording somewhere in each ``[rows, frames, bands]``, and the number of its word."""
        rows = torch.full((_SPOKEN, self.frames, self.talk.shape[1]), self.floor)
        words = self._integers(len(self.spoken), _SPOKEN)
        for row, word in zip(rows, words.tolist(), strict=True):
            clips = self.spoken[word][int(self._integers(len(self.spoken[word]), 1))]
            clip = clips[int(self._integers(len(clips), 1))]
            clip = F.pad(clip, (0, 0, 0, _slower(len(clip))), value=self.floor)
            clip = augment.stretch(clip[None], _SPEED, self.generator)[0]
            place = _BEFORE + int(self._integers(self.frames - len(clip) - _BEFORE - _AFTER + 1, 1))
            row[place : place + len(clip)] = clip
        return self._varied(rows), words

    def talking(self) -> tuple[Tensor, Tensor]:
        """Rows of talk ``[rows, frames, bands]``, half of them hard ones, and the pieces they hold most of."""
        hard = torch.multinomial(
            self.hardness.clamp(min=1e-12).sqrt(), int(_HARD * _TALKING), replacement=True, generator=self.generator
        )
        near = hard * _TALK_FRAMES + self._integers(_TALK_FRAMES // 2, len(hard)) - _TALK_FRAMES // 4
        places = torch.cat([near, self._integers(len(self.talk), _TALKING - len(hard))])
        places = places.clamp(0, max(0, len(self.talk) - _TALK_FRAMES))
        rows = augment.stretch(self._windows(self.talk, places, _TALK_FRAMES), _SPEED, self.generator)
        pieces = (places + _TALK_FRAMES // 2) // _TALK_FRAMES
        return self._varied(rows), pieces.clamp(max=len(self.hardness) - 1)

    def pieces(self) -> Iterator[Tensor]:
        """All talk as it is, in rows ``[rows, frames, bands]``."""
        for places in torch.split(torch.arange(len(self.hardness)) * _TALK_FRAMES, 32):
            yield self._windows(self.talk, places, _TALK_FRAMES)

    def _varied(self, x: Tensor) -> Tensor:
        g, count = self.generator, x.shape[1]
        x = augment.reverberate(augment.warp(x, _WARP, g), _REVERBERANT, _RT60, g)
        noise, babble = (self._windows(s, self._integers(len(s), len(x)), count) for s in (self.noise, self.talk))
        babbling = augment.uniform(0, 1, (len(x), 1, 1), g) < _BABBLE
        noise = augment.colour(torch.where(babbling, babble, noise), _GAIN_DB, _TILT_DB, self.floor, g)
        x = augment.band_limit(augment.mix(x, noise, _SNR_DB, _NOISE, g), _NARROW, self.floor, g)
        return augment.colour(x, _GAIN_DB, _TILT_DB, self.floor, g)

    def _integers(self, below: int, count: int) -> Tensor:
        return torch.randint(below, (count,), generator=self.generator)

    @staticmethod
    def _windows(source: Tensor, places: Tensor, frames: int) -> Tensor:
        return source[(places[:, None] + torch.arange(frames)) % len(source)]


def _slower(frames: int) -> int:
    """By how many frames a recording is longer at its slowest."""
    return math.ceil(frames / (1 - _SPEED)) - frames


def _train(
    network: Network,
    keywords: Sequence[Keyword],
    card: ModelCard,
    material: _Material,
    on_step: Callable[[], None],
) -> Network:
    """The averaged network after all steps."""
    network.eval()  # norms keep the statistics of what they were trained on
    before, average = copy.deepcopy(network), copy.deepcopy(network)
    total = steps(len(keywords))
    optimiser = torch.optim.AdamW(network.parameters(), _RATE, weight_decay=0.01)
    schedule = OneCycleLR(optimiser, _RATE, total, pct_start=0.1)
    quiet = network.after_silence(LEADING_SECONDS, card.features)
    lattice = Lattice.build([keyword.sequences for keyword in keywords])
    middle = torch.tensor([_middle(keyword, card) for keyword in keywords])  # where said and not said are to part
    search = card.search

    def log_probs(x: Tensor, of: Network) -> Tensor:
        start = tuple(value.expand(len(x), *value.shape[1:]).contiguous() for value in quiet)
        rows: Tensor = of(x, start)[0]
        return rows

    def odds(rows: Tensor) -> Tensor:
        soft = (rows / search.temperature).log_softmax(2)
        hits = expected_hits(soft, lattice, search.blanks_before, search.blanks_after).clamp(max=1 - 1e-9)
        return ((hits + TINY).log() - torch.log1p(-hits)).float()

    with torch.no_grad():
        material.hardness = torch.cat([odds(log_probs(x, network)).sigmoid().sum(1) for x in material.pieces()])
    for step in range(total):
        x, words = material.recordings()
        heard = odds(log_probs(x, network))
        is_said = F.one_hot(words, len(keywords)).bool()
        missed = F.softplus(_MARGIN - (heard - middle)[is_said]).mean()
        mistaken = F.softplus(_MARGIN + (heard - middle)[~is_said]).sum() / heard.numel()
        talk, pieces = material.talking()
        rows = log_probs(talk, network)
        alarms = odds(rows)
        material.hardness[pieces] = alarms.detach().sigmoid().sum(1)
        false = F.softplus(_MARGIN + alarms - middle).mean()
        with torch.no_grad():
            known = log_probs(talk, before)
        other = (known.exp() * (known - rows)).sum(2).mean()
        optimiser.zero_grad()
        (missed + mistaken + false + _KEEP * other).backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(network.parameters(), 2.0)
        optimiser.step()
        schedule.step()
        with torch.no_grad():
            share = 1 - min(_AVERAGE, (step + 1) / (step + 10))
            torch._foreach_lerp_([*average.parameters()], [*network.parameters()], share)
        on_step()
    return average


def _keyword(name: str, files: Sequence[Path], base: Spotter) -> Keyword:
    """The word's spelling: the dictionary's where it fits the recordings, else what they were decoded as."""
    found = enroll(name, files, spotter=base)
    try:
        spelled = base.keyword(name).sequences
    except LcspeechError:
        spelled = ()
    sequences = spelled if found.sequences[0] in spelled else found.sequences
    return Keyword(name, sequences, THRESHOLD, base.units)


def _middle(keyword: Keyword, card: ModelCard) -> float:
    """The log-odds at which an open word of such units scores 0.5."""
    opened = card.open
    return -max(opened.offset + rarity(opened, sequence) for sequence in keyword.sequences) / opened.slope


def _spoken(keyword: Keyword, base: Spotter, seed: int) -> list[Floats]:
    """A typed word as the voices say it: as it is written, but by its phonemes where each would guess others."""
    try:
        usual = base.keyword(keyword.name).sequences == keyword.sequences
        as_written = usual and keyword.name.isascii() and not spell(keyword.name).guessed
    except LcspeechError:
        as_written = False
    return say([keyword.name] if as_written else keyword.symbols, _VOICES, seed)


def _word(samples: Floats, settings: FeatureSettings) -> Floats:
    rate = settings.sample_rate
    samples = levelled(samples, rate)
    start, end = voiced(samples, rate)
    return log_mel(samples[max(0, round((start - _EDGES[0]) * rate)) : round((end + _EDGES[1]) * rate)], settings)


def _noise(settings: FeatureSettings, random: np.random.Generator) -> Floats:
    """Some seconds of a made-up noise: of any colour, with a few broad tones in it, louder and quieter by turns."""
    count, rate = int(random.uniform(3, 8) * settings.sample_rate), settings.sample_rate
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
    return log_mel((samples * LEVEL / rms(samples.astype(np.float32))).astype(np.float32), settings)
