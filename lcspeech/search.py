"""Keyword search over a model's own words and over open ones, those that were typed or recorded, side by side.

A network is too sure: what it hears in talk it hears as surely as the words that it was trained on. Softened log-probs
tell the two apart better, and open words are right in their order long before they are right in their size. So each
kind is searched in log-probs softened by a temperature of its own, and scored by a map of its own; all is in the
model's card.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lcspeech.card import ModelCard
from lcspeech.decoder import Hits, KeywordSearch, State
from lcspeech.scoring import soften
from lcspeech.units import Keyword

LONGEST_SECONDS = 2.0  # above this it is not one word
UNIT_SECONDS = 0.25  # that a unit of a long phrase may take beyond that, pauses between its words included
_SMALLEST = 1e-60  # as in the search, which puts 0 where something lasted too long


class Search:
    """`KeywordSearch` for keywords of both kinds, in their order. Immutable: the state goes in and comes out."""

    def __init__(self, keywords: Sequence[Keyword], card: ModelCard) -> None:
        trained = {sequence for word in card.known() for sequence in word.sequences}
        own = [trained.issuperset(keyword.sequences) for keyword in keywords]  # whatever they are called
        self._count, self._open = len(keywords), card.open
        lengths = [
            min(map(len, keyword.sequences)) for keyword, is_own in zip(keywords, own, strict=True) if not is_own
        ]
        self._offsets = card.open.offset + card.open.per_unit * np.array(lengths, np.float64)
        self._parts: dict[str, tuple[list[int], KeywordSearch]] = {}
        for kind, settings in (("own", card.search), ("open", card.open_search)):
            places = [i for i, is_own in enumerate(own) if is_own == (kind == "own")]
            if places:
                chosen = [keywords[i] for i in places]
                longest = np.array([_longest_seconds(keyword) for keyword in chosen]) / card.frame_seconds
                self._parts[kind] = places, KeywordSearch(chosen, settings, longest)

    def initial_state(self) -> State:
        """The state at a stream's start."""
        return _joined({kind: search.initial_state() for kind, (_, search) in self._parts.items()})

    def run(self, log_probs: NDArray[np.floating], state: State) -> tuple[Hits, State]:
        """``[frames, units] -> hits``; `state` is not changed."""
        columns = np.empty((3, len(log_probs), self._count))
        first_frame, new = 0, {}
        for kind, (places, search) in self._parts.items():
            heard = soften(log_probs, search.settings.temperature)
            own_state = {name.removeprefix(f"{kind}_"): a for name, a in state.items() if name.startswith(f"{kind}_")}
            hits, new[kind] = search.run(heard, own_state)
            scores = hits.scores
            if kind == "open":
                scores = 1 / (1 + np.exp(-(self._open.slope * log_odds(scores) + self._offsets)))
            columns[:, :, places] = scores, hits.starts, hits.ends
            first_frame = hits.first_frame
        return Hits(columns[0], columns[1], columns[2], first_frame), _joined(new)


def log_odds(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """log(p / (1 - p)), down to what the search keeps finite."""
    kept = np.maximum(probabilities, _SMALLEST)
    return np.asarray(np.log(kept) - np.log1p(-kept))


def _joined(states: dict[str, State]) -> State:
    return {f"{kind}_{name}": array for kind, state in states.items() for name, array in state.items()}


def _longest_seconds(keyword: Keyword) -> float:
    return max(LONGEST_SECONDS, UNIT_SECONDS * max(map(len, keyword.sequences)))
