"""Heads of recorded words: how a keyword's own units are heard in what the network's GRU gives.

The network's head tells 39 phonemes as everybody says them. A keyword's own head (learning.py makes it) adds to the
logits of blank and of the few units that it is spelled in, and is linear in the GRU's outputs, as the network's is:
for almost nothing, the search follows each such keyword in log-probs of its own.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lcspeech.errors import UsageError

Doubles = NDArray[np.float64]

_LEAST = -1 + 1e-12
_MOST = 30.0  # nats that a logit is moved by, either way: what is far from all that a head was made of stays finite


@dataclass(frozen=True)
class Head:
    """What is added to logits: float32 `weights` ``[hidden + 1, units]``, the last row without an input, as bytes.

    The units are blank and those of the keyword, in the order in which it first has them. It fits one model alone, by
    the name of `model`, whose file has this SHA-256.
    """

    model: str
    sha256: str
    units: int
    weights: bytes

    @classmethod
    def of(cls, model: str, sha256: str, weights: NDArray[np.floating]) -> Head:
        """From an array."""
        return cls(model, sha256, weights.shape[1], np.ascontiguousarray(weights, "<f4").tobytes())

    def __post_init__(self) -> None:
        row = 4 * self.units
        if self.units < 2 or len(self.weights) % row or len(self.weights) < 2 * row:
            raise UsageError("a head's weights are not those of so many units; enroll the word again")
        if not np.isfinite(self.array).all():
            raise UsageError("a head's weights are not finite; enroll the word again")

    @property
    def array(self) -> NDArray[np.float32]:
        """The weights ``[hidden + 1, units]``."""
        return np.frombuffer(self.weights, "<f4").reshape(-1, self.units).astype(np.float32)

    @property
    def hidden(self) -> int:
        """How many outputs of a GRU it reads."""
        return len(self.weights) // (4 * self.units) - 1

    def to_json(self) -> dict[str, object]:
        """As JSON-able data."""
        fields: dict[str, object] = dict(vars(self))
        return fields | {"weights": base64.b64encode(self.weights).decode()}

    @classmethod
    def from_json(cls, fields: object) -> Head:
        """Read what `to_json` gave; a `TypeError` or `ValueError` if it is something else."""
        match fields:
            case {"model": str(model), "sha256": str(sha256), "units": int(units), "weights": str(weights)}:
                try:
                    return cls(model, sha256, units, base64.b64decode(weights, validate=True))
                except binascii.Error as error:
                    raise ValueError("its head is damaged") from error
        raise TypeError("its head is damaged")


class Heads:
    """The heads of several keywords side by side: log-probs of the network in, those of each keyword's units out."""

    def __init__(self, heads: Sequence[tuple[Sequence[int], Head]]) -> None:
        """`heads`: for each keyword its units in the network's log-probs, blank first, and its head."""
        self._units = np.array([unit for units, _ in heads for unit in units])
        sizes = [len(units) for units, _ in heads]
        self.starts = np.cumsum([0, *sizes[:-1]])  # the column of each keyword's blank
        self._owner = np.repeat(np.arange(len(heads)), sizes)
        weights = np.concatenate([head.array for _, head in heads], 1)  # float32, whose product takes half as long
        self._weights, self._bias = weights[:-1], weights[-1]

    def log_probs(self, log_probs: Doubles, hidden: NDArray[np.floating]) -> Doubles:
        """``[frames, units]`` and ``[frames, hidden]`` -> ``[frames, columns]``: blank and units of each keyword."""
        moved = hidden @ self._weights
        moved += self._bias
        np.minimum(moved, _MOST, out=moved)
        np.maximum(moved, -_MOST, out=moved)
        known = log_probs.take(self._units, 1)
        new = known + moved
        total = np.add.reduceat(np.exp(new) - np.exp(known), self.starts, 1)  # above -1, but for rounding
        new -= np.log1p(np.maximum(total, _LEAST)).take(self._owner, 1)
        return np.asarray(new)
