"""The verifier: a second look at what the search has found, for almost nothing.

The search knows a word by its phonemes alone. What the GRU holds at a word's end tells more: whether it came out of
talk, out of noise, or from a word that sounds like it. So a small network on top gives evidence for each known word,
which is added to the log-odds of its hits. It is fitted to what the search finds, rightly or wrongly, in hours of
streams made of training data; the network below stays as it is.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F
from torch.optim.lr_scheduler import OneCycleLR

from lcspeech.card import FeatureSettings, SearchSettings
from lcspeech.decoder import SPREAD, KeywordSearch
from lcspeech.errors import UsageError
from lcspeech.search import FAINTEST_VERIFIED, LONGEST_SECONDS, log_odds
from lcspeech.train import augment
from lcspeech.train.batches import Batches
from lcspeech.train.loop import read_checkpoint, spellings
from lcspeech.train.network import Network, Verifier
from lcspeech.train.run import save
from lcspeech.units import Keyword

Doubles = NDArray[np.float64]

_log = logging.getLogger(__name__)

# Streams
STREAMS = 32  # heard at once
STREAM_SECONDS = 60.0
CHUNK_FRAMES = 600  # that the network hears at once
SHARES = (0.55, 0.25, 0.2)  # of clips, of utterances of talk, and of long pauses, by number
PAUSE_SECONDS = (0.5, 1.5)  # before each clip and utterance
LONG_PAUSE_SECONDS = (2.0, 10.0)
NOISE_SECONDS = 5.0  # of one kind of noise, then comes another
SNR_DB = (3.0, 25.0)
QUIET_SHARE = 0.2  # of the streams are without noise
GAIN_DB = 10.0  # of a stream, up or down
ACTIVE_DB = 25.0  # below its loudest frame, a recording does not count for its level

# Hits
APART_SECONDS = 0.4  # between two hits of one word
PLATEAU = 0.3  # of a hit's highest probability: in frames with less it is not judged
LATE_SECONDS = 0.5  # before a clip's beginning, or after its end, in which a hit still belongs to it

# The fit
DROPOUT = 0.2
EPOCHS = 12
BATCH = 256
LEARNING_RATE = 0.003
WEIGHT_DECAY = 1.0
TRUST = 0.6  # what evidence counts: events wait for more of it, and of talk there is little to learn from
TALK_WEIGHT = 10.0  # of hits in talk, which are few: the network has learned not to be misled by these speakers
_LEAST_DEVIATION = 0.03  # added to that of each GRU output: what hardly ever moves is not made louder than that


@dataclass(frozen=True, eq=False)
class Candidates:
    """Frames with a hit: the GRU's outputs ``[n, hidden]``, the hit's log-odds, which word, whether it was said, what
    the hit counts in the fit."""

    hidden: Tensor
    odds: Tensor
    words: Tensor
    true: Tensor
    weights: Tensor


@dataclass(frozen=True)
class _Item:
    """A clip or an utterance in a stream, from `start` to `end` in seconds, and which words are not in it."""

    start: float
    end: float
    absent: Tensor
    is_clip: bool


class Streams:
    """Draws streams of clips, talk and pauses over noise, as log-mel, from what a training run learns from."""

    def __init__(self, batches: Batches, frame_rate: int, generator: torch.Generator) -> None:
        self.batches, self.rate, self.generator = batches, frame_rate, generator
        self.frames = round(STREAM_SECONDS * frame_rate)
        ends = torch.tensor([len(u.log_mel) for u in batches.utterances], dtype=torch.long).cumsum(0)
        self.ends = ends.tolist()  # of each utterance in all talk
        self.level = _level(batches.features[:: max(1, len(batches.features) // 500)].float()).median()

    def draw(self) -> tuple[Tensor, list[_Item]]:
        """One stream ``[frames, bands]`` and what is in it."""
        b, g = self.batches, self.generator
        x = torch.full((self.frames, b.features.shape[2]), b.floor)
        items: list[_Item] = []
        position = 0
        while True:
            kind = int(torch.multinomial(torch.tensor(SHARES), 1, generator=g))
            position += self._seconds(LONG_PAUSE_SECONDS if kind == 2 else PAUSE_SECONDS)
            if position >= self.frames:
                break
            if kind == 2:
                continue
            is_clip = kind == 0 or not self.ends
            piece, absent = self._clip() if is_clip else self._talk()
            piece = piece[: self.frames - position] + (self.level - _level(piece[None]))
            x[position : position + len(piece)] = piece
            items.append(_Item(position / self.rate, (position + len(piece)) / self.rate, absent, is_clip))
            position += len(piece)
        gain = augment.uniform(-GAIN_DB, GAIN_DB, (1,), g) * augment.NATS_PER_DB
        x = torch.logaddexp(x, self._noise()) + gain
        x = augment.band_limit(x[None], b.settings.band_limit_probability, b.floor, g)[0]
        return torch.logaddexp(x, x.new_tensor(b.floor)), items

    def _seconds(self, between: tuple[float, float]) -> int:
        return round(float(augment.uniform(*between, (1,), self.generator)) * self.rate)

    def _vary(self, x: Tensor) -> Tensor:
        s, g = self.batches.settings, self.generator
        x = augment.warp(augment.stretch(x[None], s.speed, g), s.warp, g)
        x = augment.reverberate(x, s.room_probability, (s.rt60_frames[0], s.rt60_frames[1]), g)
        return augment.colour(x, 0.0, s.tilt_db, self.batches.floor, g)[0]

    def _clip(self) -> tuple[Tensor, Tensor]:
        b = self.batches
        index = int(torch.multinomial(b.weights, 1, generator=self.generator))
        piece = augment.cut(b.features[index : index + 1].float(), b.settings.cut_frames, b.floor, self.generator)[0]
        return self._vary(piece), torch.arange(b.silence) != b.words[index]

    def _talk(self) -> tuple[Tensor, Tensor]:
        b = self.batches
        index = int(torch.randint(len(self.ends), (1,), generator=self.generator))
        piece = b.talk[self.ends[index - 1] if index else 0 : self.ends[index]].float()
        return self._vary(piece), b.absent[index]

    def _noise(self) -> Tensor:
        """Noise for a whole stream, one kind after the other, all as loud."""
        b, g = self.batches, self.generator
        snr = float(augment.uniform(*SNR_DB, (1,), g)) * augment.NATS_PER_DB
        if float(torch.rand(1, generator=g)) < QUIET_SHARE:
            return torch.full((self.frames, b.noise.shape[1]), b.floor)
        length, parts = round(NOISE_SECONDS * self.rate), []
        for _ in range(math.ceil(self.frames / length)):
            start = int(torch.randint(max(1, len(b.noise) - length), (1,), generator=g))
            piece = b.noise[(start + torch.arange(length)) % len(b.noise)].float()
            piece = augment.colour(piece[None], 0.0, b.settings.tilt_db, b.floor, g)[0]
            power = piece.logsumexp(1).logsumexp(0) - math.log(length)
            parts.append(piece + (self.level - snr - power))
        return torch.cat(parts)[: self.frames]


def _level(x: Tensor) -> Tensor:
    """The mean power of the frames that are not much fainter than the loudest, ``[batch, frames, bands] -> [batch]``"""
    power = x.logsumexp(2)
    active = power >= power.amax(1, keepdim=True) - ACTIVE_DB * augment.NATS_PER_DB
    mean: Tensor = torch.where(active, power, -math.inf).logsumexp(1) - active.sum(1).log()
    return mean


@torch.no_grad()
def find_candidates(network: Network, streams: Streams, words: tuple[str, ...], hours: float) -> Candidates:
    """What the search finds of all `words` in so many `hours` of drawn streams."""
    rate, stride, network = streams.rate, network.time_stride, network.eval()
    keywords = [Keyword(word, tuple(sequences)) for word, sequences in zip(words, spellings(words), strict=True)]
    settings = SearchSettings(temperature=streams.batches.settings.temperature)
    search = KeywordSearch(keywords, settings, LONGEST_SECONDS * rate / stride)
    found: list[tuple[Tensor, Doubles, NDArray[np.intp], NDArray[np.bool_], Doubles]] = []
    for _ in range(max(1, round(hours * 3600 / STREAM_SECONDS / STREAMS))):
        drawn = [streams.draw() for _ in range(STREAMS)]
        hidden = torch.cat([*_hidden(network, torch.stack([x for x, _ in drawn]))], 1)
        for row, log_probs, (_, items) in zip(hidden, network.log_probs(hidden).numpy(), drawn, strict=True):
            hits, _ = search.run(log_probs, search.initial_state())
            frames, which = _peaks(hits.scores, round(APART_SECONDS * rate / stride))
            scores, ends = hits.scores[frames, which], hits.ends[frames, which] * stride / rate
            true, weights = _judge(ends, which, scores, items)
            hit, frames = _around(hits.scores, frames, which, weights > 0)
            found.append((row[frames], hits.scores[frames, which[hit]], which[hit], true[hit], weights[hit]))
    chosen, *rest = zip(*found, strict=True)
    scores, *others = (np.concatenate(arrays) for arrays in rest)
    odds = torch.from_numpy(log_odds(scores)).float()
    hit_words, said, counted = (torch.from_numpy(array) for array in others)
    return Candidates(torch.cat(chosen), odds, hit_words, said, counted.float())


def _hidden(network: Network, log_mel: Tensor) -> Iterator[Tensor]:
    state = network.initial_state(len(log_mel))
    for chunk in torch.split(log_mel, CHUNK_FRAMES, 1):
        hidden, state = network.hidden(chunk, state)
        yield hidden


def _peaks(scores: Doubles, apart: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Frames and words of the hits, the first of the likeliest within `apart` frames to either side."""
    padded = np.pad(scores, ((apart, apart), (0, 0)))
    around = np.lib.stride_tricks.sliding_window_view(padded, 2 * apart + 1, 0)
    before = around[:, :, :apart].max(2)
    frames, which = np.nonzero((scores > FAINTEST_VERIFIED) & (scores > before) & (scores >= around.max(2)))
    return frames, which


def _around(
    scores: Doubles, frames: NDArray[np.intp], which: NDArray[np.intp], counts: NDArray[np.bool_]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Of the hits that count, all frames in which they are heard nearly as well: which hit, and the frame.

    An event may be raised in any of them.
    """
    near = frames[:, None] + np.arange(-SPREAD // 2, SPREAD // 2 + 1)
    inside = (near >= 0) & (near < len(scores)) & counts[:, None]
    near = near.clip(0, len(scores) - 1)
    heard = scores[near, which[:, None]] >= np.maximum(PLATEAU * scores[frames, which], FAINTEST_VERIFIED)[:, None]
    hit, place = np.nonzero(inside & heard)
    return hit, near[hit, place]


def _judge(
    ends: Doubles, which: NDArray[np.intp], scores: Doubles, items: list[_Item]
) -> tuple[NDArray[np.bool_], Doubles]:
    """For each hit, whether it is true, and what it counts.

    What is in the transcript of talk counts nothing, since nobody knows where; nor do echoes of a clip's word.
    """
    true, weights = np.zeros(len(ends), np.bool_), np.ones(len(ends))
    for item in items:
        within = (ends >= item.start - LATE_SECONDS) & (ends <= item.end + LATE_SECONDS)
        present = within & ~item.absent.numpy()[which]
        if not item.is_clip:
            weights[within] = TALK_WEIGHT
        weights[present] = 0
        if item.is_clip and present.any():
            loudest = int(np.argmax(np.where(present, scores, -1)))
            true[loudest], weights[loudest] = True, 1
    return true, weights


def fit(candidates: Candidates, words: int, seed: int) -> Verifier:
    """A verifier whose evidence, added to the log-odds of the candidates' hits, tells most surely which are true."""
    c, generator = candidates, torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)  # the weights' and dropout's draws
    mean, deviation = c.hidden.mean(0), c.hidden.std(0) + _LEAST_DEVIATION
    x, target = (c.hidden - mean) / deviation, c.true.float()
    verifier, steepness = Verifier(x.shape[1], words, DROPOUT), torch.zeros((), requires_grad=True)
    parameters = [*verifier.parameters(), steepness]
    optimiser = torch.optim.AdamW(parameters, LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    schedule = OneCycleLR(optimiser, LEARNING_RATE, EPOCHS * math.ceil(len(x) / BATCH))
    for _ in range(EPOCHS):
        for rows in torch.split(torch.randperm(len(x), generator=generator), BATCH):
            evidence = verifier(x[rows]).gather(1, c.words[rows, None])[:, 0]
            odds = steepness.exp() * c.odds[rows] + evidence
            loss = F.binary_cross_entropy_with_logits(odds, target[rows], c.weights[rows])
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
    with torch.no_grad():  # what was done to its input and to the odds is folded into its weights
        verifier.inner.weight.div_(deviation)
        verifier.inner.bias.sub_(verifier.inner.weight @ mean)
        verifier.head.weight.mul_(TRUST / steepness.exp())
        verifier.head.bias.mul_(TRUST / steepness.exp())
    return verifier.eval()


def add_verifier(checkpoint: Path, batches: Batches, features: FeatureSettings, words: tuple[str, ...]) -> None:
    """Fit a verifier of `words` to a checkpoint's best network, and write it into the checkpoint.

    Where the search finds nothing, or nothing wrongly, there is nothing to learn: it is logged, and there is none.

    Raises:
        UsageError: if it is no checkpoint, or one of other words.
    """
    network, _ = read_checkpoint(checkpoint, features)
    content, settings = torch.load(checkpoint, map_location="cpu", weights_only=True), batches.settings
    if tuple(content["words"]) != words:
        raise UsageError(f"the words in the data are not those of '{checkpoint}'; give the data that it learned from")
    streams = Streams(batches, features.frame_rate, torch.Generator().manual_seed(settings.seed))
    candidates = find_candidates(network, streams, words, settings.verifier_hours)
    if not (candidates.true.any() and (~candidates.true).any()):
        _log.warning("no verifier: the search finds too little in %g hours of streams", settings.verifier_hours)
        return
    verifier = fit(candidates, len(words), settings.seed)
    save(content | {"verifier": verifier.state_dict()}, checkpoint)
