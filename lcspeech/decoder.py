"""Frame-synchronous CTC keyword search over an endless stream of log-probs.

The score of a keyword is the probability, under the network's CTC distribution, that it was just said on its own:
some frames of blank, then the keyword's units by any alignment, then some frames of blank. It is a sum over all paths
(the forward algorithm), not the best one: whether mass sits on one alignment or is spread over ten says nothing about
whether the word was said, and a sum is a probability whose complement is exactly "it was not", so that no second
search for the best path without the keyword is needed. The blanks are what keeps "four" from being heard in "forward".

All of it is elementwise arithmetic on frames, so that blocks of any size give the same bits.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lcspeech.card import SearchSettings
from lcspeech.scoring import Lattice, softened
from lcspeech.units import BLANK, Keyword

Doubles = NDArray[np.float64]
State = dict[str, NDArray[np.generic]]

SPREAD = 8  # output frames over which the possible ends of one occurrence are summed
_CLIP = 1e-12  # keeps log-odds finite near 1
_FAINTEST = 1e-60  # and near 0, where long words that the network does not know still differ


@dataclass(frozen=True, eq=False)
class Hits:
    """What was heard at each frame: arrays ``[frames, keywords]``; times in output frames since the stream began."""

    scores: Doubles  # probability in [0, 1] that the keyword ended in the last moments
    starts: Doubles  # expected first frame of it
    ends: Doubles  # expected frame after its last unit
    first_frame: int  # the frame of row 0


def joined(parts: Sequence[Hits]) -> Hits:
    """Hits that follow one another as one; of one, it itself."""
    if len(parts) == 1:
        return parts[0]
    scores, starts, ends = (
        np.concatenate(columns)
        for columns in zip(*((hits.scores, hits.starts, hits.ends) for hits in parts), strict=True)
    )
    return Hits(scores, starts, ends, parts[0].first_frame)


class KeywordSearch:
    """Follows every pronunciation of every keyword. Immutable: the state goes in and comes out."""

    def __init__(
        self,
        keywords: Sequence[Keyword],
        settings: SearchSettings,
        longest: float | Doubles,
        weights: Doubles | None = None,
        faintest: float = 0.0,
        blanks: Sequence[int] = (BLANK,),
    ) -> None:
        """`longest` is the duration, in output frames, above which something is not one keyword: of all, or of each.

        `weights` are what the mass of each pronunciation counts, those of the first keyword first (None: 1). What is
        less probable than `faintest` is no hit: its score and times are 0. `blanks` are the columns of blank, of all
        keywords or of each.
        """
        self.settings, self.longest, self._faintest = settings, longest, faintest
        lattice = Lattice.build([keyword.sequences for keyword in keywords])
        self._groups, self._pronunciations = len(keywords), np.flatnonzero(np.diff(lattice.owner, prepend=-1))
        self._blanks = np.array(blanks)
        blank_of = lattice.owner if len(blanks) > 1 else np.zeros_like(lattice.owner)  # of each sequence, which
        self._blank_of = blank_of if len(blanks) > 1 else None
        blank_at = blank_of[lattice.first.cumsum() - 1]  # of each state
        labels = np.where(lattice.labels == BLANK, self._blanks[blank_at], lattice.labels)
        # One row holds the mass of all states, then the same times its start: numpy's cost lies in the number of calls.
        # Each half has two dead states in front, so that "the state before" and "two before" are plain slices.
        dead, states = np.zeros(2, np.intp), len(lattice.labels)
        self._labels = np.tile(np.concatenate([dead, labels]), 2)
        self._skip = np.tile(np.concatenate([dead, lattice.skip]), 2)[2:].astype(np.float64)
        # A leading blank holds what is put there and nothing that flows in from the sequence before
        self._holds = np.tile(np.concatenate([dead, ~lattice.first]), 2).astype(np.float64)
        first = lattice.first.astype(np.float64)
        if weights is not None:
            first[lattice.first] = weights
        firsts = np.zeros((len(blanks), 2 + states))
        firsts[blank_at, 2 + np.arange(states)] = first
        self._begin = np.kron(np.eye(2), firsts)
        finals = lattice.last - 1  # the states of each sequence's last unit
        self._finals = np.concatenate([finals + 2, finals + states + 4])
        # The states in which a keyword is underway: begun, and not over; the units that follow each, and its keyword
        begun = ~lattice.first
        begun[lattice.last] = False
        underway = np.flatnonzero(begun)
        units = (lattice.labels != BLANK).cumsum()
        sequence = lattice.first.cumsum()[underway] - 1
        self._underway, self._left = underway + 2, units[finals[sequence]] - units[underway]
        self._underway_of, self._finals_of = lattice.owner[sequence], lattice.owner

    def initial_state(self, log_probs: NDArray[np.floating] | None = None, frame: int = 0) -> State:
        """The state at a stream's start, before which there was nothing but blank.

        Or that at another `frame`, when no word is begun, after `log_probs` ``[frames, units]``, the newest last; more
        than are needed may be given.
        """
        s = self.settings
        kept = max(s.blanks_before, s.blanks_after) + 1
        if log_probs is None:
            blanks = np.ones((kept, len(self._blanks)))
        else:
            blanks = softened(log_probs[-kept:], s.temperature).take(self._blanks, 1)
        may_begin = np.multiply.reduce(blanks[len(blanks) - s.blanks_before :])
        return {
            "frame": np.array(frame),
            "blanks": blanks,  # probability of blank, newest last
            # Mass of each state, and times its start
            "alpha": np.concatenate([may_begin, may_begin * frame]) @ self._begin,
            "finals": np.zeros((s.blanks_after, 2, len(self._finals) // 2)),  # alpha of the last units, newest last
            "endings": np.zeros((SPREAD - 1, 3, self._groups)),  # mass, mass x start, mass x end per frame
        }

    def soonest(self, state: State, likely: Doubles, ready: float) -> float:
        """In how many frames, at the soonest, a hit may come or grow of what is underway; infinite if nothing is.

        What is less probable than `likely`, ``[keywords]``, does not count, nor do hits that ended before frame
        `ready`.
        """
        alpha, finals, endings = (state[name].astype(np.float64) for name in ("alpha", "finals", "endings"))
        mass, _, ends = np.add.reduce(endings)
        if ((mass >= likely) & (ends >= ready * mass)).any():
            return 1  # a hit may grow for some frames, and evidence for it with it
        ended = (finals[:-1, 0] >= likely.take(self._finals_of)).any(1)  # the newest are in `alpha`, too
        if ended.any():
            return 1 + float(ended.argmax())
        begun = alpha.take(self._underway) >= likely.take(self._underway_of)
        return float(self._left[begun].min()) + self.settings.blanks_after if begun.any() else math.inf

    def run(self, log_probs: NDArray[np.floating], state: State) -> tuple[Hits, State]:
        """Log-probs ``[frames, units] -> hits``; `state` is not changed.

        They are softened by the settings' temperature first. Memory grows with the frames: cut long input up.
        """
        frames, first_frame, after = len(log_probs), int(state["frame"]), self.settings.blanks_after
        probs = softened(log_probs, self.settings.temperature)
        blanks = np.concatenate([state["blanks"], probs.take(self._blanks, 1)])
        times = np.arange(first_frame + 1.0, first_frame + frames + 1)
        entry, alpha = _runs(blanks, self.settings.blanks_before, frames), state["alpha"].astype(np.float64)
        alphas = self._forward(probs, entry, times, alpha)
        finals = alphas[1:].take(self._finals, 1).reshape(frames, 2, len(self._finals) // 2)
        history = np.concatenate([state["finals"], finals])
        mass = np.empty((frames, 3, self._groups))
        # An end is certain only once blanks have followed it
        followed = _runs(blanks, after, frames)[:, None]
        ended = history[:frames] * (followed if self._blank_of is None else followed.take(self._blank_of, 2))
        np.add.reduceat(ended, self._pronunciations, axis=2, out=mass[:, :2])
        np.multiply(mass[:, 0], (times - after)[:, None], out=mass[:, 2])
        endings = np.concatenate([state["endings"], mass])
        new: State = {
            "frame": np.array(first_frame + frames),
            "blanks": blanks[frames:],
            "alpha": alphas[-1].copy(),
            "finals": history[frames:],
            "endings": endings[frames:],
        }
        return self._hits(np.add.reduce(_windows(endings, SPREAD), 1), first_frame), new

    def _forward(self, probs: Doubles, entry: Doubles, times: Doubles, alpha: Doubles) -> Doubles:
        """The CTC recursion, all that happens frame by frame: ``[frames + 1, 2 * states]``, `alpha` the first row.

        `entry` is the probability that a word may begin after a frame, at `times`: that it closes a run of blanks.
        """
        emissions = probs.take(self._labels, 1)
        emissions *= self._holds
        begin = np.concatenate([entry, entry * times[:, None]], 1) @ self._begin  # exact: all products but one are 0
        alphas = np.empty((len(probs) + 1, len(alpha)))
        alphas[0] = alpha
        alphas[1:, :2] = 0.0
        inflow = np.empty(len(alpha) - 2)
        for old, new, emission, fresh in zip(alphas[:-1], alphas[1:, 2:], emissions[:, 2:], begin[:, 2:], strict=True):
            np.multiply(old[:-2], self._skip, inflow)
            np.add(old[1:-1], inflow, inflow)
            np.add(old[2:], inflow, new)
            np.multiply(new, emission, new)
            np.add(new, fresh, new)
        return alphas

    def _hits(self, total: Doubles, first_frame: int) -> Hits:
        probable = total[:, 0] >= self._faintest
        if not probable.any():  # nearly always, where there is a faintest
            nothing = np.zeros_like(total[:, 0])
            return Hits(nothing, nothing, nothing, first_frame)
        starts, ends = np.where(probable, total[:, 1:].swapaxes(0, 1) / np.maximum(total[:, 0], 1e-300), 0.0)
        scores = np.minimum(np.maximum(total[:, 0], _FAINTEST), 1 - _CLIP)
        if (slope := self.settings.slope) != 1 or self.settings.offset:
            with np.errstate(over="ignore"):  # sigmoid(slope * log-odds + offset); the faintest of a steep map are 0
                scores = np.minimum(1 / (1 + np.exp(-self.settings.offset) * (1 / scores - 1) ** slope), 1 - _CLIP)
        return Hits(np.where(probable & (ends - starts <= self.longest), scores, 0.0), starts, ends, first_frame)


def _runs(blanks: Doubles, length: int, frames: int) -> Doubles:
    """Probability that each of the last `frames` frames ends a run of `length` blanks, ``[frames, blanks]``."""
    runs: Doubles = np.multiply.reduce(_windows(blanks[len(blanks) - frames - length + 1 :], length), 1)
    return runs


def _windows(rows: Doubles, length: int) -> Doubles:
    """Every run of `length` rows, as a view ``[rows - length + 1, length, ...]``.

    numpy's own sliding_window_view takes longer than the arithmetic of a step.
    """
    shape = (len(rows) - length + 1, length, *rows.shape[1:])
    return np.ndarray(shape, rows.dtype, rows, strides=(rows.strides[0], *rows.strides))
