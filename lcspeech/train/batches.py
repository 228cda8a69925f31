"""What training hears: rows of clips, silence and talk, and whole utterances, all varied and made noisy as drawn."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lcspeech.card import FeatureSettings
from lcspeech.errors import UsageError
from lcspeech.pronunciation import pronunciations
from lcspeech.train import augment
from lcspeech.train.data import Corpus, Utterance
from lcspeech.train.distributed import processes
from lcspeech.train.pplcnet import CausalPPLCNet
from lcspeech.train.settings import TrainSettings

_GPU_FRAMES = 400  # cuDNN prepares for each new length of a map, which takes it seconds: so there are few


@dataclass(frozen=True, eq=False)
class Segments:
    """What each row's stream hears next: a clip with its surroundings, silence or noise, or a piece of talk."""

    log_mel: Tensor  # [batch, segment_frames, bands]
    clips: Tensor  # [batch]: the number of the clip among all; one more than the last for silence
    targets: Tensor  # [batch]: a word, or silence; without meaning for talk
    talk: Tensor  # [batch]: which rows are talk
    places: Tensor  # [talk rows]: where in all talk each of these begins
    absent: Tensor  # [batch, words]: which words are not in the transcript of that talk


class Batches:
    """Draws batches; all randomness comes from `generator`, and all is kept and computed on its device."""

    def __init__(self, corpus: Corpus, settings: TrainSettings, features: FeatureSettings, generator: torch.Generator):
        self.settings, self.generator, self.device = settings, generator, generator.device
        self.rows, self.utterance_rows = _share(settings.batch), _share(settings.utterance_batch)
        self.masks = settings.masks
        self.floor = float(np.log(features.floor))
        self.stride = 2 ** len(CausalPPLCNet.TIME_STRIDES)
        if settings.segment_frames % self.stride:
            raise UsageError(f"segment_frames must be a multiple of {self.stride}, the network's time stride")
        if settings.segment_frames < corpus.clips[0].log_mel.shape[1] + settings.trailing_frames:
            raise UsageError("segment_frames is too short for a clip and its trailing_frames; make it longer")
        if settings.utterance_batch > settings.batch:
            raise UsageError("utterance_batch is larger than batch; make it smaller")
        self.features = self._here(np.concatenate([clips.log_mel for clips in corpus.clips]))
        self.words = self._here(np.concatenate([clips.words for clips in corpus.clips]))
        self.silence = len(corpus.words)
        shares = (1.0, settings.picture_share)
        share = torch.cat([torch.full((len(c),), s) for c, s in zip(corpus.clips, shares, strict=False)])
        share = share.to(self.device)
        # Between counting every clip once (rare words are never learned) and every word once (they are overfitted)
        amount = share.new_zeros(len(corpus.words)).index_add(0, self.words, share)
        self.weights = share * amount.clamp(min=1).rsqrt()[self.words]
        self.noise = self._here(corpus.noise)
        self.utterances = corpus.utterances
        self.talk = self._here(np.concatenate([corpus.noise[:0], *(u.log_mel for u in corpus.utterances)]))
        lengths = [len(utterance.log_mel) for utterance in corpus.utterances]
        self.owner = self._here(np.repeat(np.arange(len(lengths)), lengths))
        pieces = max(1, len(self.talk) // settings.segment_frames)
        self.hardness = torch.zeros(pieces, device=self.device)  # of each piece of talk
        self.transcribed, self.synthetic = (
            sorted((u for u in said if u.units is not None), key=lambda u: len(u.log_mel))
            for said in (corpus.utterances, corpus.synthetic)
        )
        self.sounds = [_sounds([word]) for word in corpus.words]
        self.absent = torch.tensor([self.lacks(utterance) for utterance in corpus.utterances], device=self.device)

    def _here(self, array: NDArray[Any]) -> Tensor:
        return torch.from_numpy(array).to(self.device)

    def _draws(self, *shape: int) -> Tensor:
        """Uniform draws from [0, 1)."""
        return torch.rand(shape, generator=self.generator, device=self.device)

    def _integers(self, below: int, count: int) -> Tensor:
        return torch.randint(below, (count,), generator=self.generator, device=self.device)

    def lacks(self, utterance: Utterance) -> list[bool]:
        """Of each word, whether an utterance holds neither it nor another that sounds like it."""
        said = _sounds(utterance.words)
        return [said.isdisjoint(sounds) for sounds in self.sounds]

    def padded(self, frames: float) -> int:
        """How long a map is made for so many `frames`: a multiple of the network's stride, on a GPU one of few."""
        unit = self.stride if self.device.type == "cpu" else _GPU_FRAMES
        return math.ceil(frames / unit) * unit

    def statistics(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the clips in each band, ``[bands]`` both."""
        sample = self.features[:: max(1, len(self.features) // 2000)].float().flatten(0, 1)
        return sample.mean(0), sample.std(0)

    def segments(self) -> Segments:
        """The next segment of every row's stream."""
        s, g = self.settings, self.generator
        chosen = torch.multinomial(self.weights, self.rows, replacement=True, generator=g)
        targets = self.words[chosen]
        x = augment.stretch(self.features[chosen].float(), s.speed, g)
        x = augment.cut(x, s.cut_frames, self.floor, g)
        x = augment.place(x, s.segment_frames, s.trailing_frames, self.floor, g)
        silent = self._draws(self.rows) < s.silence_share
        x[silent], targets[silent], chosen[silent] = self.floor, self.silence, len(self.words)
        talk = self._draws(self.rows) < (s.talk_share if len(self.utterances) else 0.0)
        talk[0] = False  # there is always a clip to learn from
        absent = torch.ones(self.rows, self.silence, dtype=torch.bool, device=self.device)
        start = self._places_of_talk(int(talk.sum()))
        if talk.any():
            x[talk] = augment.stretch(_windows(self.talk, start, s.segment_frames), s.speed, g)
            first, last = (self.owner[(start + end) % len(self.owner)] for end in (0, s.segment_frames - 1))
            absent[talk] = self.absent[first] & self.absent[last]
        return Segments(self._augment(x), chosen, targets, talk, start, absent)

    def utterance_batch(self) -> tuple[Tensor, list[Utterance], Tensor]:
        """Log-mel padded to one length ``[batch, frames, bands]``, the utterances, and which words each lacks."""
        g = self.generator
        synthetic = self.synthetic and float(self._draws(1)) < self.settings.synthetic_share
        source = self.synthetic if synthetic else self.transcribed
        # Neighbours in length, so that little of the batch is padding
        first = int(self._integers(max(1, len(source) - self.utterance_rows + 1), 1))
        chosen = source[first : first + self.utterance_rows]
        longest = max(len(u.log_mel) for u in chosen) / (1 - self.settings.speed)  # where it is said slowly
        x = torch.full((len(chosen), self.padded(longest), self.features.shape[2]), self.floor)
        for row, utterance in zip(x, chosen, strict=True):
            row[: len(utterance.log_mel)] = torch.from_numpy(utterance.log_mel)
        x = augment.stretch(x.to(self.device), self.settings.speed, g)
        absent = torch.tensor([self.lacks(utterance) for utterance in chosen], device=self.device)
        return self._augment(x), chosen, absent

    def _augment(self, x: Tensor) -> Tensor:
        s, g = self.settings, self.generator
        x = augment.warp(x, s.warp, g)
        x = augment.reverberate(x, s.room_probability, (s.rt60_frames[0], s.rt60_frames[1]), g)
        # A row of digital silence has no level to set the noise against: there the noise is heard as it is
        empty = (x.amax((1, 2)) <= self.floor + 1e-3)[:, None, None]
        noise = _windows(self.noise, self._places(self.noise, len(x), x.shape[1]), x.shape[1])
        if len(self.talk):
            babble = _windows(self.talk, self._places(self.talk, len(x), x.shape[1]), x.shape[1])
            talking = (self._draws(len(x), 1, 1) < s.babble_share) & ~empty
            noise = torch.where(talking, babble, noise)
        noise = augment.colour(noise, s.gain_db, s.tilt_db, self.floor, g)
        heard = self._draws(len(x), 1, 1) < s.noise_probability
        mixed = augment.mix(x, noise, (s.snr_db[0], s.snr_db[1]), s.noise_probability, g)
        x = torch.where(empty, torch.where(heard, noise, x), mixed)
        x = augment.band_limit(x, s.band_limit_probability, self.floor, g)
        x = augment.colour(x, s.gain_db, s.tilt_db, self.floor, g)
        return augment.spec_augment(x, self.masks, s.mask_frames, s.mask_bands, s.segment_frames, g)

    def in_noise(self, x: Tensor, snr_db: float, generator: torch.Generator) -> Tensor:
        """``[batch, frames, bands]`` with other noise in each row, drawn by `generator`."""
        most = max(1, len(self.noise) - x.shape[1])
        places = torch.randint(most, (len(x),), generator=generator, device=self.device)
        return augment.mix(x, _windows(self.noise, places, x.shape[1]), (snr_db, snr_db), 1.0, generator)

    def remember(self, places: Tensor, alarms: Tensor) -> None:
        """Note how many false alarms a network heard in talk: the worst pieces come again more often (`hard_share`)."""
        frames = self.settings.segment_frames
        pieces = (places + frames // 2) // frames  # those that hold most of each window
        self.hardness[pieces.clamp(max=len(self.hardness) - 1)] = alarms

    def _places_of_talk(self, rows: int) -> Tensor:
        g, frames, share = self.generator, self.settings.segment_frames, self.settings.hard_share
        places = self._places(self.talk, rows, frames)
        if not (rows and share and self.hardness.any()):
            return places
        pieces = torch.multinomial(self.hardness, rows, replacement=True, generator=g)
        near = pieces * frames + self._integers(frames // 2, rows) - frames // 4
        hard = self._draws(rows) < share
        return torch.where(hard, near.clamp(0, len(self.talk) - 1), places)

    def _places(self, source: Tensor, rows: int, frames: int) -> Tensor:
        """Where random pieces of `source` begin."""
        return self._integers(max(1, len(source) - frames), rows)


def _windows(source: Tensor, places: Tensor, frames: int) -> Tensor:
    """Pieces of `source`, ``[places, frames, bands]``."""
    return source[(places[:, None] + torch.arange(frames, device=source.device)) % len(source)].float()


def _share(rows: int) -> int:
    """The rows of a batch that fall to each process."""
    if rows % processes():
        raise UsageError(f"{processes()} processes cannot share batches of {rows}; give a multiple")
    return rows // processes()


def _sounds(words: Iterable[str]) -> set[tuple[str, ...]]:
    """All that `words` can sound like: nobody hears "know" apart from "no", so neither is absent beside the other."""
    return {sound for word in words for sound in pronunciations(word)}
