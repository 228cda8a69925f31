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
REST_FRAMES = (
    24  # after so many in which a gate let nothing through, the search rests: a pause within a word is shorter
)
_SMALLEST = 1e-60  # as in the search, which puts 0 where something lasted too long


class Search:
    """`KeywordSearch` for keywords of both kinds, in their order. Immutable: the state goes in and comes out."""

    def __init__(self, keywords: Sequence[Keyword], card: ModelCard) -> None:
        trained = {sequence for word in card.known() for sequence in word.sequences}
        own = [trained.issuperset(keyword.sequences) for keyword in keywords]  # whatever they are called
        self._count, self._open, self._gated = len(keywords), card.open, card.gate.hidden > 0
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
        state = _joined({kind: search.initial_state() for kind, (_, search) in self._parts.items()})
        return state | ({"closed": np.array(0)} if self._gated else {})  # frames since the gate was open

    def run(self, log_probs: NDArray[np.floating], state: State) -> tuple[Hits, State]:
        """``[frames, units] -> hits``; `state` is not changed."""
        if not self._gated or not len(log_probs):
            return self._run(log_probs, state)
        closed, counts = int(state["closed"]), []
        for same in (log_probs[:, 1:] == log_probs[:, 1:2]).all(1):  # for all units: a gate's word, not the network's
            closed = closed + 1 if same else 0
            counts.append(closed)
        resting = np.array(counts) > REST_FRAMES
        starts = [0, *(np.flatnonzero(np.diff(resting)) + 1).tolist()]
        parts: list[Hits] = []
        for start, end in zip(starts, [*starts[1:], len(log_probs)], strict=True):
            hits, state = (self._rest if resting[start] else self._run)(log_probs[start:end], state)
            parts.append(hits)
        return _one(parts), state | {"closed": np.array(closed)}

    def _rest(self, log_probs: NDArray[np.floating], state: State) -> tuple[Hits, State]:
        nothing, new = np.zeros((len(log_probs), self._count)), {}
        for kind, (_, search) in self._parts.items():
            own_state, first_frame = _of(kind, state), int(state[f"{kind}_frame"])
            new[kind] = search.rest(soften(log_probs, search.settings.temperature), own_state)
        return Hits(nothing, nothing, nothing, first_frame), _joined(new)

    def _run(self, log_probs: NDArray[np.floating], state: State) -> tuple[Hits, State]:
        columns = np.empty((3, len(log_probs), self._count))
        first_frame, new = 0, {}
        for kind, (places, search) in self._parts.items():
            heard = soften(log_probs, search.settings.temperature)
            hits, new[kind] = search.run(heard, _of(kind, state))
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


def _of(kind: str, state: State) -> State:
    return {name.removeprefix(f"{kind}_"): array for name, array in state.items() if name.startswith(f"{kind}_")}


def _one(parts: Sequence[Hits]) -> Hits:
    """Hits that follow one another as one."""
    if len(parts) == 1:
        return parts[0]
    scores, starts, ends = (
        np.concatenate(columns)
        for columns in zip(*((hits.scores, hits.starts, hits.ends) for hits in parts), strict=True)
    )
    return Hits(scores, starts, ends, parts[0].first_frame)


def _longest_seconds(keyword: Keyword) -> float:
    return max(LONGEST_SECONDS, UNIT_SECONDS * max(map(len, keyword.sequences)))
