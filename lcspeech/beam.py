"""Prefix beam search: from CTC log-probs to the unit sequences that they most likely spell."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lcspeech.units import BLANK

Sequence = tuple[int, ...]

_BEAM = 24  # prefixes kept per frame
_BRANCHES = 8  # units tried per frame, the likeliest


def likeliest_sequences(
    log_probs: NDArray[np.floating], count: int, bonus: NDArray[np.float64] | None = None
) -> tuple[Sequence, ...]:
    """The `count` likeliest unit sequences of the frames ``[frames, units]``, the likeliest first, () for nothing.

    With a `bonus` for each unit, in nats, a sequence that holds it ranks so much higher.

    A prefix's probability is summed over its alignments (Graves and Jaitly 2014, algorithm 1), kept apart by whether
    the last frame was blank, because a unit can be spelled twice in a row only across a blank.
    """
    gains = np.exp(np.zeros(log_probs.shape[1]) if bonus is None else bonus).tolist()
    beam: dict[Sequence, tuple[float, float]] = {(): (1.0, 0.0)}  # mass ending in blank, and in the last unit
    for frame in np.exp(log_probs.astype(np.float64)):
        probs = (frame / frame.max()).tolist()  # the order is all that matters, and nothing underflows
        units = [unit for unit in np.argsort(-frame)[: _BRANCHES + 1].tolist() if unit != BLANK]
        grown: dict[Sequence, list[float]] = {}
        for prefix, (blank, spoken) in beam.items():
            total = blank + spoken
            same = grown.setdefault(prefix, [0.0, 0.0])
            same[0] += total * probs[BLANK]
            if prefix:
                same[1] += spoken * probs[prefix[-1]]
            for unit in units:
                longer = grown.setdefault((*prefix, unit), [0.0, 0.0])
                longer[1] += (blank if prefix[-1:] == (unit,) else total) * probs[unit] * gains[unit]
        ranked = sorted(grown.items(), key=lambda item: -sum(item[1]))[:_BEAM]
        largest = sum(ranked[0][1])
        beam = {prefix: (blank / largest, spoken / largest) for prefix, (blank, spoken) in ranked}
    return tuple(beam)[:count]
