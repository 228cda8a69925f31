"""Units that the network spells in, and keywords as sequences of them.

A keyword is one or more sequences of units (its pronunciations). A closed set of commands, a typed word and
a recorded word are the same thing to the decoder, which does not care what the units stand for.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from lcspeech.errors import UnknownKeywordError, UsageError

BLANK = 0  # the index of CTC's blank in every inventory

ARPABET: tuple[str, ...] = (
    *("AA", "AE", "AH", "AO", "AW", "AY", "B", "CH", "D", "DH", "EH", "ER", "EY"),
    *("F", "G", "HH", "IH", "IY", "JH", "K", "L", "M", "N", "NG", "OW", "OY"),
    *("P", "R", "S", "SH", "T", "TH", "UH", "UW", "V", "W", "Y", "Z", "ZH"),
)
"""The 39 phonemes of CMUdict, without stress marks."""


@dataclass(frozen=True)
class Units:
    """An inventory of units. ``symbols[0]`` is the blank; a unit's index is its column in the log-probs."""

    symbols: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(self.symbols) < 2 or len(set(self.symbols)) != len(self.symbols):
            raise UsageError("a unit inventory needs a blank and at least one unit, each symbol once")

    def __len__(self) -> int:
        return len(self.symbols)

    def encode(self, symbols: Iterable[str]) -> tuple[int, ...]:
        """Indices of `symbols`, e.g. ``("Y", "EH", "S") -> (37, 11, 29)``."""
        index = {symbol: i for i, symbol in enumerate(self.symbols)}
        symbols = tuple(symbols)
        unknown = [symbol for symbol in symbols if index.get(symbol, BLANK) == BLANK]
        if unknown or not symbols:
            known = " ".join(self.symbols[1:])
            raise UsageError(f"not a sequence of units: '{' '.join(symbols)}'; the units are: {known}")
        return tuple(index[symbol] for symbol in symbols)


PHONEMES = Units(("<blank>", *ARPABET))


@dataclass(frozen=True)
class Keyword:
    """A name, the unit sequences that spell it, and the score in [0, 1] from which it counts as heard."""

    name: str
    sequences: tuple[tuple[int, ...], ...]
    threshold: float = 0.5

    def __post_init__(self) -> None:
        if not self.name or not self.sequences or not all(self.sequences):
            raise UsageError(f"keyword '{self.name}' needs a name and at least one non-empty unit sequence")
        if any(unit <= BLANK for sequence in self.sequences for unit in sequence):
            raise UsageError(f"keyword '{self.name}' holds the blank; it cannot be part of a spelling")
        if not 0.0 <= self.threshold <= 1.0:
            raise UsageError(f"the threshold of '{self.name}' is {self.threshold}; give one from 0 to 1")


def select(keywords: Iterable[Keyword], names: Iterable[str]) -> tuple[Keyword, ...]:
    """Those of `keywords` called `names`, in that order, each once.

    Raises:
        UnknownKeywordError: if a name is not among them; the message lists those that are.
    """
    by_name = {keyword.name: keyword for keyword in keywords}
    names = tuple(dict.fromkeys(names))
    for name in names:
        if name not in by_name:
            known = ", ".join(sorted(by_name))
            raise UnknownKeywordError(f"unknown keyword '{name}'; this model knows: {known}")
    if not names:
        raise UsageError("no keyword given; name at least one")
    return tuple(by_name[name] for name in names)
