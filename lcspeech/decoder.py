"""Frame-synchronous CTC keyword search over an endless stream of log-probs.

The score of a keyword is the probability, under the network's CTC distribution, that it was just said on its own:
some frames of blank, then the keyword's units by any alignment, then some frames of blank. It is a sum over all paths
(the forward algorithm), not the best one: whether mass sits on one alignment or is spread over ten says nothing about
whether the word was said, and a sum is a probability whose complement is exactly "it was not", so that no second
search for the best path without the keyword is needed. The blanks are what keeps "four" from being heard in "forward".

All of it is elementwise arithmetic on frames, so that blocks of any size give the same bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lcspeech.card import SearchSettings
from lcspeech.scoring import Lattice
from lcspeech.units import BLANK, Keyword

Doubles = NDArray[np.float64]
State = dict[str, NDArray[np.generic]]

_SPREAD = 8  # output frames over which the possible ends of one occurrence are summed
_CLIP = 1e-12  # keeps log-odds finite near 1
_FAINTEST = 1e-60  # and near 0, where long words that the network does not know still differ


@dataclass(frozen=True, eq=False)
class Hits:
    """What was heard at each frame: arrays ``[frames, keywords]``; times in output frames since the stream began."""

    scores: Doubles  # probability in [0, 1] that the keyword ended in the last moments
    starts: Doubles  # expected first frame of it
    ends: Doubles  # expected frame after its last unit
    first_frame: int  # the frame of row 0


class KeywordSearch:
    """Follows every pronunciation of every keyword. Immutable: the state goes in and comes out."""

    def __init__(self, keywords: Sequence[Keyword], settings: SearchSettings, longest: float | Doubles) -> None:
        """`longest` is the duration, in output frames, above which something is not one keyword: of all, or of each."""
        self.settings, self.longest = settings, longest
        self._lattice = lattice = Lattice.build([keyword.sequences for keyword in keywords])
        self._groups = len(keywords)
        self._by_one = np.where(lattice.first, 0.0, 1.0)
        self._by_two = lattice.skip.astype(np.float64)
        self._first = np.flatnonzero(lattice.first)
        self._final = lattice.last - 1  # the states of each sequence's last unit
        self._pronunciations = np.flatnonzero(np.diff(lattice.owner, prepend=-1))  # where each keyword's begin

    def initial_state(self) -> State:
        """The state at a stream's start, before which there was nothing but blank."""
        s, sequences = self.settings, len(self._final)
        alpha = np.zeros((2, len(self._lattice.labels)))
        alpha[0, self._first] = 1.0  # a word may begin at once
        return {
            "frame": np.array(0),
            "blanks": np.ones(max(s.blanks_before, s.blanks_after) + 1),  # probability of blank, newest last
            "alpha": alpha,  # mass of each state; the same times its start
            "finals": np.zeros((s.blanks_after, 2, sequences)),  # alpha of the last units, newest last
            "endings": np.zeros((_SPREAD - 1, 3, self._groups)),  # mass, mass x start, mass x end per frame
        }

    def run(self, log_probs: NDArray[np.floating], state: State) -> tuple[Hits, State]:
        """``[frames, units] -> hits``; `state` is not changed."""
        frames = len(log_probs)
        first_frame = int(state["frame"])
        probs = np.exp(log_probs.astype(np.float64))
        blanks = np.concatenate([state["blanks"], probs[:, BLANK]])
        finals, alpha = self._forward(
            probs, self._runs(blanks, self.settings.blanks_before, frames), state, first_frame
        )
        history = np.concatenate([state["finals"], finals])
        after = self._runs(blanks, self.settings.blanks_after, frames)
        ended = history[:frames] * after[:, None, None]  # an end is certain only once blanks have followed it
        numbers = np.arange(first_frame, first_frame + frames) - (self.settings.blanks_after - 1.0)
        mass = np.empty((frames, 3, self._groups))
        np.add.reduceat(ended, self._pronunciations, axis=2, out=mass[:, :2])
        np.multiply(mass[:, 0], numbers[:, None], out=mass[:, 2])
        endings = np.concatenate([state["endings"], mass])
        total = endings[:frames].copy()
        for back in range(1, _SPREAD):
            total += endings[back : back + frames]
        new: State = {
            "frame": np.array(first_frame + frames),
            "blanks": blanks[frames:],
            "alpha": alpha,
            "finals": history[frames:],
            "endings": endings[frames:],
        }
        return self._hits(total, first_frame), new

    def _runs(self, blanks: Doubles, length: int, frames: int) -> Doubles:
        """Probability that each of the last `frames` frames ends a run of `length` blanks."""
        product = np.ones(frames)
        for back in range(length):
            product = product * blanks[len(blanks) - frames - back : len(blanks) - back]
        return product

    def _forward(self, probs: Doubles, entry: Doubles, state: State, frame: int) -> tuple[Doubles, Doubles]:
        """The CTC recursion, on mass and on mass times start side by side; all that happens once a frame."""
        emissions = probs[:, self._lattice.labels]
        states = emissions.shape[1]
        padded = np.zeros((2, states + 2))  # two dead states in front, so that "two before" is a plain slice
        alpha, one, two = padded[:, 2:], padded[:, 1:-1], padded[:, :-2]
        alpha[:] = state["alpha"]
        by_one, by_two = np.empty((2, 2, states))
        finals = np.empty((len(probs), 2, len(self._final)))
        for t in range(len(probs)):
            np.multiply(one, self._by_one, out=by_one)
            np.multiply(two, self._by_two, out=by_two)
            by_one += by_two
            alpha += by_one
            alpha *= emissions[t]
            # A word may begin after this frame if it closes the run of blanks; the leading blank itself holds nothing
            alpha[0, self._first] = entry[t]
            alpha[1, self._first] = entry[t] * (frame + t + 1)
            finals[t] = alpha[:, self._final]
        return finals, alpha.copy()

    def _hits(self, total: Doubles, first_frame: int) -> Hits:
        mass = np.maximum(total[:, 0], 1e-300)
        starts, ends = total[:, 1] / mass, total[:, 2] / mass
        probability = np.clip(total[:, 0], _FAINTEST, 1 - _CLIP)
        log_odds = np.log(probability) - np.log1p(-probability)
        scores = 1 / (1 + np.exp(-(self.settings.slope * log_odds + self.settings.offset)))
        return Hits(np.where(ends - starts > self.longest, 0.0, scores), starts, ends, first_frame)
