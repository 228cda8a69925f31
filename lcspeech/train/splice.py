"""Words cut out of utterances and put together anew, with pauses between: speech in which no word tells the next.

Of a few hours of read sentences a network learns the sentences, too, and hears the same words badly when they are said
on their own, as keywords are.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch.nn import functional as F
from torchaudio.functional import forced_align, merge_tokens

from lcspeech.card import FeatureSettings
from lcspeech.errors import UsageError
from lcspeech.pronunciation import pronunciations
from lcspeech.train.data import Corpus, Halves, Utterance
from lcspeech.train.network import Network
from lcspeech.units import BLANK

# All in frames of the log-mel
_AROUND = 40  # of silence at both ends of an utterance: the network answers late
_LATE = 6  # that a word's last unit is heard after the word's end
_NEAR = 4  # of that end, where the quietest frame is taken for it
_LEAD, _TAIL = 30, 4  # of an utterance's first word before its first unit is heard, and of its last one after its last
_UNIT, _LONGEST = 4, 130  # fewer for each unit, or more for a word, are an alignment gone wrong
_QUIET = 12  # the quietest so many are what the pauses are made of
_BEFORE, _BETWEEN, _AFTER = (5, 60), (15, 80), (15, 60)  # lengths of pauses
_WORDS, _ALONE = (3, 7), 0.65  # in an utterance; share of them that stand alone, the others in pairs
_SILENT = 0.3  # share of utterances whose pauses are digital silence instead


@dataclass(frozen=True, eq=False)
class Cut:
    """A word as somebody said it in a sentence: features ``[frames, bands]``, and those of a pause there."""

    log_mel: Halves
    word: str
    units: tuple[int, ...]
    speaker: str
    pause: Halves


@torch.no_grad()
def cut_words(network: Network, utterances: Iterable[Utterance]) -> tuple[Cut, ...]:
    """The words of `utterances` as `network` aligns their transcripts; those that CMUdict lacks leave out all of one.

    A cut lies where it is quietest near the end of the word before, since speech seldom pauses there.
    """
    cuts: list[Cut] = []
    for utterance in utterances:
        lengths = [len(sounds[0]) for word in utterance.words if (sounds := pronunciations(word))]
        units, found = utterance.units, utterance.log_mel
        if units is None or len(lengths) < len(utterance.words) or sum(lengths) != len(units):
            continue
        heard = _heard(network, found, units)
        if len(heard) != len(units):
            continue  # too fast for the network's frames
        last = np.cumsum(lengths) - 1
        loudness = found.astype(np.float32).mean(1)
        ends = [_quietest(loudness, heard[i][1] - _LATE) for i in last[:-1]]
        bounds = [max(0, heard[0][0] - _LEAD), *ends, min(len(found), heard[-1][1] + _TAIL)]
        quiet = int(np.convolve(loudness, np.ones(_QUIET), "valid").argmin())
        pause = found[quiet : quiet + _QUIET]
        for word, length, end, (start, stop) in zip(utterance.words, lengths, last + 1, pairwise(bounds), strict=True):
            if _UNIT * length <= stop - start <= _LONGEST:
                cuts.append(Cut(found[start:stop], word, units[end - length : end], utterance.speaker, pause))
    return tuple(cuts)


def with_spliced(corpus: Corpus, network: Network | None, count: int, features: FeatureSettings, seed: int) -> Corpus:
    """`corpus` with so many utterances spliced of its own among the synthetic ones; `network` aligns the words.

    Raises:
        UsageError: if there is no network, or nothing to cut.
    """
    if network is None:
        raise UsageError(
            "'spliced' utterances are cut by a trained network; give its checkpoint with --aligner or --init"
        )
    cuts = cut_words(network, corpus.utterances)
    if not cuts:
        raise UsageError("no transcribed utterances to splice; give --librispeech-dir, or set 'spliced' to 0")
    made = spliced(cuts, count, float(np.log(features.floor)), seed)
    return dataclasses.replace(corpus, synthetic=corpus.synthetic + made)


def _heard(network: Network, log_mel: Halves, units: Sequence[int]) -> list[tuple[int, int]]:
    """Where each unit is heard: its first frame, and that after its last. Empty if the units do not fit in."""
    x = torch.from_numpy(log_mel).float()[None]
    floor = float(x.min())
    x = F.pad(x, (0, 0, _AROUND, _AROUND + -x.shape[1] % network.time_stride), value=floor)
    log_probs = network(x, network.initial_state(1))[0][..., : network.head.out_features].contiguous()
    if log_probs.shape[1] < len(units) + sum(a == b for a, b in pairwise(units)):
        return []
    tokens, scores = forced_align(log_probs, torch.tensor([units], dtype=torch.int32), blank=BLANK)
    spans = merge_tokens(tokens[0], scores[0], BLANK)
    stride = network.time_stride
    return [(stride * span.start - _AROUND, stride * span.end - _AROUND) for span in spans]


def _quietest(loudness: np.ndarray, near: int) -> int:
    start = max(0, min(near, len(loudness) - 1) - _NEAR)
    return start + int(loudness[start : start + 2 * _NEAR + 1].argmin())


def spliced(cuts: Sequence[Cut], count: int, floor: float, seed: int) -> tuple[Utterance, ...]:
    """So many utterances of words of one speaker each, every word of his as likely; `floor` is digital silence."""
    random = np.random.default_rng(seed)
    said: dict[str, dict[str, list[Cut]]] = defaultdict(lambda: defaultdict(list))
    for cut in cuts:
        said[cut.speaker][cut.word].append(cut)
    speakers = sorted(said)
    richness = np.array([len(said[speaker]) for speaker in speakers], float)

    def choose(words: dict[str, list[Cut]]) -> Cut:
        takes = words[str(random.choice(sorted(words)))]
        return takes[int(random.integers(len(takes)))]

    def splice(speaker: str) -> Utterance:
        left, chosen = int(random.integers(*_WORDS, endpoint=True)), list[Cut]()
        silent, parts = random.random() < _SILENT, list[Halves]()

        def pause(lengths: tuple[int, int]) -> Halves:
            frames = (int(random.integers(*lengths)), chosen[0].pause.shape[1])
            return np.full(frames, floor, np.float16) if silent else np.resize(chosen[0].pause, frames)

        while left > 0:
            phrase = [choose(said[speaker]) for _ in range(1 if random.random() < _ALONE else 2)]
            chosen, left = chosen + phrase, left - len(phrase)
            parts += [pause(_BETWEEN if parts else _BEFORE), *(cut.log_mel for cut in phrase)]
        units = tuple(unit for cut in chosen for unit in cut.units)
        return Utterance(np.concatenate([*parts, pause(_AFTER)]), tuple(cut.word for cut in chosen), units, speaker)

    return tuple(splice(str(speaker)) for speaker in random.choice(speakers, count, p=richness / richness.sum()))
