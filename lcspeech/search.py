"""Keyword search over a model's own words and over open ones, those that were typed or recorded, side by side.

A network is too sure: what it hears in talk it hears as surely as the words that it was trained on. Softened log-probs
tell the two apart better, and open words are right in their order long before they are right in their size. So each
kind is searched in log-probs softened by a temperature of its own, and scored by a map of its own; all is in the
model's card.

The search knows a word by its units alone. What the network holds at a word's end tells more: whether it came out of
talk, or from a word that sounds like it. A verified model gives evidence for each word that it knows, in nats, which is
added to the log-odds of hits (train/verifier.py). An open word that was learned, from recordings or voices
(learning.py), has a head of its own (heads.py), and is searched in log-probs that this makes of the network's.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from lcspeech.card import REMEMBERED_FRAMES, ModelCard, OpenSettings
from lcspeech.decoder import SPREAD, Hits, KeywordSearch, State, joined
from lcspeech.heads import Heads
from lcspeech.scoring import soften
from lcspeech.units import BLANK, Keyword, Units

Doubles = NDArray[np.float64]
Rows = NDArray[np.floating]  # what the network gives, [frames, columns]

LONGEST_SECONDS = 2.0  # above this it is not one word
UNIT_SECONDS = 0.25  # that a unit of a long phrase may take beyond that, pauses between its words included
SILENT = math.log(0.995)  # log-prob of blank from which on a frame holds nothing
_EXPECTED = 0.4  # the score above which a word may soon be an event
_UNDERWAY = 0.03  # the probability of being said above which one of the model's own words may, if that is lower
FAINTEST_VERIFIED = 0.001  # probability of a hit that is worth a second look: below it the score is 0
SUREST = 1 - 1e-12  # score of what could not be surer: a threshold of 1 lets nothing pass
_SMALLEST = 1e-60  # as in the search, which puts 0 where something lasted too long


class _Part:
    """The search for keywords of one kind, and its state among that of the others."""

    def __init__(
        self,
        kind: str,
        places: list[int],
        search: KeywordSearch,
        log_probs: Callable[[Rows], Rows],
        slope: float,
        offsets: Doubles | float,
        evidence: list[list[int]],
    ) -> None:
        """`slope` and `offsets` (of all keywords, or of each) map the log-odds of hits to those of scores.

        `log_probs` are what the keywords are searched in, of the network's rows, which hold evidence for each, if any,
        in the columns `evidence`; of a keyword that sounds like several words, the best of theirs counts.
        """
        self.kind, self.places, self.search = kind, places, search
        self._log_probs, self._slope, self._offsets = log_probs, slope, offsets
        self._evidence = [columns[0] for columns in evidence]
        self._several = {place: columns for place, columns in enumerate(evidence) if len(columns) > 1}
        self._mapped = not (isinstance(offsets, np.ndarray) or evidence)  # by the search itself
        with np.errstate(over="ignore"):  # of the longest words
            faint = 1 / (1 + np.exp((offsets - log_odds(np.array(_EXPECTED))) / slope))
        likely = np.maximum(faint, _SMALLEST)
        if kind == "own":  # evidence may add to those of verified ones
            likely = np.full(len(places), _UNDERWAY) if evidence else np.minimum(_UNDERWAY, likely)
        self._likely = np.broadcast_to(likely, len(places))
        self._names = {name: f"{kind}_{name}" for name in search.initial_state()}
        lasting = SPREAD + search.settings.blanks_after
        self.patience = lasting if kind == "own" else lasting + math.ceil(np.max(search.longest))

    def initial_state(self, rows: Rows | None, frame: int) -> State:
        return self._named(self.search.initial_state(None if rows is None else self._log_probs(rows), frame))

    def run(self, rows: Rows, state: State) -> tuple[Hits, State]:
        own = {name: state[named] for name, named in self._names.items()}
        hits, own = self.search.run(self._log_probs(rows), own)
        if not self._mapped:
            hits = Hits(self._scores(hits.scores, rows), hits.starts, hits.ends, hits.first_frame)
        return hits, self._named(own)

    def soonest(self, state: State, ready: float) -> float:
        own = {name: state[self._names[name]] for name in ("alpha", "finals", "endings")}
        return self.search.soonest(own, self._likely, ready)

    def _scores(self, found: Doubles, rows: Rows) -> Doubles:
        hit = found > _SMALLEST  # what is so improbable is none, however long the word
        if not self._evidence:
            return np.where(hit, self._sigmoid(log_odds(found)), 0.0)
        if not hit.any():  # nearly always
            return found
        evidence = rows[:, self._evidence]
        for place, columns in self._several.items():
            evidence[:, place] = rows[:, columns].max(1)
        scores = np.zeros_like(found)
        scores[hit] = self._sigmoid(log_odds(found[hit]) + evidence[hit])
        return scores

    def _sigmoid(self, odds: Doubles) -> Doubles:
        with np.errstate(over="ignore"):
            score = 1 / (1 + np.exp(-(self._slope * odds + self._offsets)))
        return np.asarray(np.minimum(score, SUREST))

    def _named(self, own: State) -> State:
        return {named: own[name] for name, named in self._names.items()}


class Search:
    """`KeywordSearch` for keywords of all kinds, in their order. Immutable: the state goes in and comes out."""

    def __init__(self, keywords: Sequence[Keyword], card: ModelCard) -> None:
        # Which of the words that it knows has a sequence: the first
        known = {s: place for place, word in reversed([*enumerate(card.known())]) for s in word.sequences}

        def kind_of(keyword: Keyword) -> str:
            if keyword.head is not None:
                return "learned"
            return "own" if known.keys() >= set(keyword.sequences) else "open"  # whatever it is called

        kinds = [kind_of(keyword) for keyword in keywords]
        self.count, units = len(keywords), len(card.units)
        self._parts: list[_Part] = []
        for kind in ("own", "open", "learned"):
            places = [i for i, one in enumerate(kinds) if one == kind]
            if not places:
                continue
            chosen = [keywords[i] for i in places]
            longest = np.array([longest_seconds(keyword) for keyword in chosen]) / card.frame_seconds
            settings, weights, faintest = card.open_search, None, 0.0
            log_probs, blanks, evidence = _first(units), [BLANK], list[list[int]]()
            if kind == "own":
                settings = card.search
                score: tuple[float, Doubles | float] = (card.search.slope, card.search.offset)
                if card.verified:
                    settings, faintest = dataclasses.replace(settings, slope=1.0, offset=0.0), FAINTEST_VERIFIED
                    words = [dict.fromkeys(known[sequence] for sequence in keyword.sequences) for keyword in chosen]
                    evidence = [[units + word for word in each] for each in words]
            else:
                middles = [middle(keyword, card.open) for keyword in chosen]
                score = (card.open.slope, -card.open.slope * np.array(middles))
                weights = np.concatenate([sequence_weights(keyword, card.open) for keyword in chosen])
            if kind == "learned":
                heads = Heads([(keyword.head_units, keyword.head) for keyword in chosen if keyword.head])
                log_probs, blanks = _through(heads, card), heads.starts.tolist()
                chosen = [_at_columns(keyword, start) for keyword, start in zip(chosen, blanks, strict=True)]
                settings = dataclasses.replace(settings, temperature=1.0)
            search = KeywordSearch(chosen, settings, longest, weights, faintest, blanks)
            self._parts.append(_Part(kind, places, search, log_probs, *score, evidence))
        # Frames in which nothing is heard after which nothing can come of what was heard before: hits last as long, and
        # open words, which may be phrases with pauses in them, may go on until they are too long
        self.patience = max(part.patience for part in self._parts)
        self.states = tuple(self.initial_state())  # their names

    def initial_state(self, rows: Rows | None = None, frame: int = 0) -> State:
        """The state at a stream's start; or at another `frame`, after `rows` in which no word was begun."""
        states = [part.initial_state(rows, frame) for part in self._parts]
        return {name: array for state in states for name, array in state.items()}

    def soonest(self, state: State, ready: float) -> float:
        """In how many frames, at the soonest, a word may be heard that ends after frame `ready`; infinite if none is
        being said.
        """
        return min(part.soonest(state, ready) for part in self._parts)

    def run(self, rows: Rows, state: State) -> tuple[Hits, State]:
        """The network's ``[frames, columns] -> hits``; `state` is not changed."""
        found = [part.run(rows, state) for part in self._parts]
        if len(found) == 1:
            return found[0]
        columns = np.empty((3, len(rows), self.count))
        new: State = {}
        for part, (hits, own) in zip(self._parts, found, strict=True):
            columns[:, :, part.places] = hits.scores, hits.starts, hits.ends
            new |= own
        return Hits(columns[0], columns[1], columns[2], found[0][0].first_frame), new


def _first(units: int) -> Callable[[Rows], Rows]:
    """What of a row is log-probs of the network's units."""
    return lambda rows: rows[:, :units]


def _through(heads: Heads, card: ModelCard) -> Callable[[Rows], Rows]:
    """What heads make of a row, whose log-probs are softened as for other open words first."""
    units, hidden, temperature = len(card.units), card.columns - card.hidden, card.open.temperature
    return lambda rows: heads.log_probs(soften(rows[:, :units], temperature), rows[:, hidden:])


def _at_columns(keyword: Keyword, start: int) -> Keyword:
    """A keyword whose units are columns of what heads give, its blank's being `start`."""
    column = {unit: start + i for i, unit in enumerate(keyword.head_units)}
    sequences = tuple(tuple(column[unit] for unit in sequence) for sequence in keyword.sequences)
    return Keyword(keyword.name, sequences, units=Units(tuple(map(str, range(start + len(column))))))


def middle(keyword: Keyword, settings: OpenSettings) -> float:
    """The log-odds of hits at which an open word of such units scores 0.5."""
    return -(settings.offset + max(rarity(settings, sequence) for sequence in keyword.sequences)) / settings.slope


def sequence_weights(keyword: Keyword, settings: OpenSettings) -> Doubles:
    """What the mass of each of an open word's sequences counts: that of others than the rarest less."""
    rare = np.array([rarity(settings, sequence) for sequence in keyword.sequences])
    return np.asarray(np.exp((rare - rare.max()) / settings.slope))


def rarity(settings: OpenSettings, sequence: Sequence[int]) -> float:
    """What is added to the score's log-odds of a word of such units, since talk is taken for it the less."""
    return settings.per_unit * len(sequence) + sum(settings.by_unit[unit] for unit in sequence if settings.by_unit)


def is_gates(log_probs: Rows) -> NDArray[np.bool_]:
    """Which rows a closed gate gave instead of the network: in those, all units but blank are the same."""
    same: NDArray[np.bool_] = (log_probs[:, 1] == log_probs[:, 2]) & (log_probs[:, 1] == log_probs[:, -1])
    return same


class RestingSearch:
    """Like `Search`, but does not search where nothing has been heard for some time, in silence or at a closed gate.

    Scores are 0 then, and nothing that was begun goes on. It is the network that has heard nothing, whatever heads make
    of it.
    """

    def __init__(self, search: Search, card: ModelCard) -> None:
        self._search, self._units, self._columns = search, len(card.units), card.columns
        self.patience = search.patience

    def initial_state(self) -> State:
        """The state at a stream's start."""
        quiet = np.full((REMEMBERED_FRAMES, self._columns), -np.inf, np.float32)
        quiet[:, BLANK] = quiet[:, self._units :] = 0.0
        counts = {"empty": np.array(0), "frame": np.array(0)}  # frames in which nothing has been heard, and all
        return {**self._search.initial_state(), **counts, "rows": quiet}  # the newest

    def soonest(self, state: State, ready: float) -> float:
        """As `Search.soonest`."""
        return math.inf if int(state["empty"]) > self.patience else self._search.soonest(state, ready)

    def run(self, rows: Rows, state: State) -> tuple[Hits, State]:
        """The network's ``[frames, columns] -> hits``; `state` is not changed."""
        empty, frame = int(state["empty"]), int(state["frame"])
        is_empty = (rows[:, BLANK] >= SILENT) | is_gates(rows[:, : self._units])
        known = np.concatenate([state["rows"], rows])
        new = {**state, "frame": np.array(frame + len(rows)), "rows": known[len(rows) :]}
        if (rests := empty > self.patience) and is_empty.all():  # nearly always
            return self._nothing(len(rows), frame), {**new, "empty": np.array(empty + len(rows))}
        resting = []
        for nothing in is_empty.tolist():
            empty = empty + 1 if nothing else 0
            resting.append(empty > self.patience)
        inner, start, parts = {name: state[name] for name in self._search.states}, 0, []
        for is_resting, run in groupby(resting):
            end = start + len(list(run))
            if is_resting:
                parts.append(self._nothing(end - start, frame + start))
            else:
                if rests:
                    inner = self._search.initial_state(known[start : start + REMEMBERED_FRAMES], frame + start)
                hits, inner = self._search.run(rows[start:end], inner)
                parts.append(hits)
            rests, start = is_resting, end
        return joined(parts), {**new, **inner, "empty": np.array(empty)}

    def _nothing(self, frames: int, first_frame: int) -> Hits:
        zeros = np.zeros((frames, self._search.count))
        return Hits(zeros, zeros, zeros, first_frame)


def log_odds(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """log(p / (1 - p)), down to what the search keeps finite."""
    kept = np.maximum(probabilities, _SMALLEST)
    return np.asarray(np.log(kept) - np.log1p(-kept))


def longest_seconds(keyword: Keyword) -> float:
    """What lasts longer is not this keyword."""
    return max(LONGEST_SECONDS, UNIT_SECONDS * max(map(len, keyword.sequences)))
