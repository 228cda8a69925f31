"""Exact CTC scoring of unit sequences: the forward algorithm over many sequences at once, and closed-set posteriors.

CTC turns log-probs into a distribution over all unit sequences, so a clip's score for a word is the exact probability
that the whole clip spells it (Graves et al. 2006, section 4.1), and what is left of 1 is "anything else".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lcspeech.units import BLANK, Keyword

SILENCE = "silence"
UNKNOWN = "unknown"


@dataclass(frozen=True, eq=False)
class Lattice:
    """CTC's states of several sequences side by side: for each, blank u1 blank u2 ... blank, ``2 * length + 1`` states.

    All arrays have one entry per state, `last` and `owner` one per sequence.
    """

    labels: NDArray[np.intp]  # the unit that a state emits
    first: NDArray[np.bool_]  # the leading blank of a sequence: nothing comes before it
    skip: NDArray[np.bool_]  # may be entered from two states before: units that differ from the one before
    last: NDArray[np.intp]  # index of the state of each sequence's trailing blank
    owner: NDArray[np.intp]  # which group of `sequences` each sequence belongs to

    @classmethod
    def build(cls, groups: Sequence[Sequence[Sequence[int]]]) -> Lattice:
        """`groups`: for each word, its sequences (pronunciations). A sequence may be empty: silence."""
        labels: list[int] = []
        skip: list[bool] = []
        starts: list[int] = []
        owner: list[int] = []
        for word, sequences in enumerate(groups):
            for sequence in sequences:
                starts.append(len(labels))
                owner.append(word)
                labels.append(BLANK)
                skip.append(False)
                for i, unit in enumerate(sequence):
                    labels += [unit, BLANK]
                    skip += [i > 0 and unit != sequence[i - 1], False]
        first = np.zeros(len(labels), np.bool_)
        first[starts] = True
        last = np.array([*starts[1:], len(labels)]) - 1
        return cls(np.array(labels), first, np.array(skip), last, np.array(owner))


def sequence_log_probs(log_probs: NDArray[np.floating], lattice: Lattice) -> NDArray[np.float64]:
    """Log-probability that the frames ``[frames, units]`` spell each group of the lattice, ``[groups]``."""
    emission = log_probs.astype(np.float64)[:, lattice.labels]
    alpha = np.where(lattice.first, 0.0, -np.inf)  # before the first frame: in front of every sequence
    blocked, no_skip = lattice.first, ~lattice.skip
    for frame in emission:
        by_one = np.concatenate([[-np.inf], alpha[:-1]])
        by_two = np.concatenate([[-np.inf, -np.inf], alpha])[:-2]
        by_one[blocked] = -np.inf
        by_two[no_skip] = -np.inf
        alpha = np.logaddexp(np.logaddexp(alpha, by_one), by_two) + frame
    final = np.logaddexp(alpha[lattice.last], np.where(lattice.first[lattice.last], -np.inf, alpha[lattice.last - 1]))
    totals = np.full(lattice.owner[-1] + 1, -np.inf)
    np.logaddexp.at(totals, lattice.owner, final)
    return totals


def soften(log_probs: NDArray[np.floating], temperature: float) -> NDArray[np.float64]:
    """Log-probs ``[frames, units]`` of the same order, less sure: divided by `temperature` and normalised again."""
    if temperature == 1:
        return log_probs.astype(np.float64)
    scaled = log_probs.astype(np.float64) / temperature
    return np.asarray(scaled - np.log(np.exp(scaled).sum(1, keepdims=True)))


def softened(log_probs: NDArray[np.floating], temperature: float) -> NDArray[np.float64]:
    """The probabilities that `soften` gives the logarithms of."""
    probs: NDArray[np.float64] = np.exp(log_probs.astype(np.float64) / temperature)
    if temperature != 1:
        probs /= np.add.reduce(probs, 1, keepdims=True)
    return probs


class ClosedSet:
    """Posteriors of a whole clip over a closed set of words, "unknown" and "silence".

    "Unknown" is every sequence that spells none of the words: one minus their sum, exactly. `unknown_bias` (nats) is
    added to it, `silence_bias` to silence. Fillers are words that the model knows and nobody asked for; they count as
    unknown.
    """

    def __init__(
        self,
        keywords: Sequence[Keyword],
        fillers: Sequence[Keyword],
        unknown_bias: float = 0.0,
        silence_bias: float = 0.0,
    ) -> None:
        self.labels = (*(keyword.name for keyword in keywords), UNKNOWN, SILENCE)
        self.unknown_bias, self.silence_bias = unknown_bias, silence_bias
        asked = {sequence for keyword in keywords for sequence in keyword.sequences}  # a filler may sound the same
        others = [[sequence for sequence in filler.sequences if sequence not in asked] for filler in fillers]
        groups = [*(keyword.sequences for keyword in keywords), *(other for other in others if other)]
        self._lattice = Lattice.build([*groups, ((),)])
        self._keywords = len(keywords)

    def posteriors(self, log_probs: NDArray[np.floating]) -> NDArray[np.float64]:
        """Probabilities ``[labels]`` that sum to 1, from log-probs ``[frames, units]``."""
        scores = sequence_log_probs(log_probs, self._lattice)
        words, silence = scores[:-1], scores[-1]
        rest = np.log(max(1e-12, 1.0 - np.exp(scores).sum()))
        fillers = np.logaddexp.reduce(words[self._keywords :], initial=-np.inf)
        unknown = np.logaddexp(rest + self.unknown_bias, fillers)
        logits = np.concatenate([words[: self._keywords], [unknown, silence + self.silence_bias]])
        posteriors = np.exp(logits - logits.max())
        return np.asarray(posteriors / posteriors.sum())
