"""Units that the network spells in, and keywords as sequences of them.

A keyword is one or more sequences of units (its pronunciations). A closed set of commands, a typed word and
a recorded word are the same thing to the decoder, which does not care what the units stand for.
"""

from __future__ import annotations

import json
import operator
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lcspeech.errors import UsageError
from lcspeech.heads import Head

BLANK = 0  # the index of CTC's blank in every inventory
FILE_FORMAT = 1  # of a saved keyword; raised when older files can no longer be read

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
    """A name, the unit sequences that spell it, and the score in [0, 1] from which it counts as heard.

    `sequences` are indices into `units`. `scores` are those of the recordings that a recorded word was made from, each
    measured with others alone, by the model of this name, for which the threshold was chosen; `calibration` is what
    ``lcspeech calibrate`` measured at the threshold. `head` is what a word learned beyond its spelling, from recordings
    or synthetic voices.
    """

    name: str
    sequences: tuple[tuple[int, ...], ...]
    threshold: float = 0.5
    units: Units = field(default=PHONEMES, repr=False)
    scores: tuple[float, ...] = ()
    calibration: Mapping[str, Any] | None = field(default=None, repr=False, compare=False)
    head: Head | None = field(default=None, repr=False)
    model: str = field(default="", repr=False, compare=False)

    def __post_init__(self) -> None:
        try:
            sequences = tuple(tuple(map(operator.index, sequence)) for sequence in self.sequences)
        except TypeError as error:
            raise UsageError(f"keyword '{self.name}' is not given in units; Keyword.spelled takes symbols") from error
        try:
            threshold, scores = float(self.threshold), tuple(map(float, self.scores))
        except (TypeError, ValueError) as error:
            raise UsageError(
                f"the threshold or a score of '{self.name}' is no number; give numbers from 0 to 1"
            ) from error
        object.__setattr__(self, "sequences", tuple(dict.fromkeys(sequences)))  # each is heard once
        object.__setattr__(self, "threshold", threshold)
        object.__setattr__(self, "scores", scores)
        if not isinstance(self.name, str):
            raise UsageError(f"a keyword is named {self.name!r}; give text")
        try:
            self.name.encode()
        except UnicodeEncodeError as error:  # a shell hands over whatever bytes there are
            raise UsageError(f"keyword {self.name!r} is no valid text; name it in letters") from error
        if not self.name.isprintable():  # which would break lines of output
            raise UsageError(f"keyword {self.name!r} holds a line break or another control character; leave it out")
        if not self.name.strip() or not self.sequences or not all(self.sequences):
            raise UsageError(f"keyword '{self.name}' needs a name and at least one non-empty unit sequence")
        if any(unit >= len(self.units) for sequence in self.sequences for unit in sequence):
            raise UsageError(f"keyword '{self.name}' holds a unit beyond the {len(self.units)}; see Units.encode")
        if any(unit <= BLANK for sequence in self.sequences for unit in sequence):
            raise UsageError(f"keyword '{self.name}' holds the blank; it cannot be part of a spelling")
        if not all(0.0 <= score <= 1.0 for score in (self.threshold, *self.scores)):
            wrong = next(score for score in (self.threshold, *self.scores) if not 0.0 <= score <= 1.0)
            raise UsageError(f"a threshold or a score of '{self.name}' is {wrong}; give one from 0 to 1")
        if self.head is not None and self.head.units != len(self.head_units):
            raise UsageError(f"the head of '{self.name}' is that of a word of other units; enroll it again")

    @property
    def symbols(self) -> tuple[tuple[str, ...], ...]:
        """The sequences as unit symbols."""
        return tuple(tuple(self.units.symbols[unit] for unit in sequence) for sequence in self.sequences)

    @property
    def head_units(self) -> tuple[int, ...]:
        """The units that a head is of: blank, and each unit of the sequences once."""
        return tuple(dict.fromkeys([BLANK, *(unit for sequence in self.sequences for unit in sequence)]))

    @classmethod
    def spelled(
        cls, name: str, symbols: Iterable[Iterable[str]], units: Units = PHONEMES, threshold: float = 0.5
    ) -> Keyword:
        """A keyword from the symbols of its pronunciations, e.g. ``[("Y", "EH", "S")]``.

        Raises:
            UsageError: if one is not among `units`.
        """
        return cls(name, tuple(units.encode(sequence) for sequence in symbols), threshold, units)

    def within(self, units: Units) -> Keyword:
        """The same keyword, spelled in another inventory, that of the model which is to hear it.

        Raises:
            UsageError: if that lacks one of its units.
        """
        if units == self.units:
            return self
        sequences = tuple(units.encode(sequence) for sequence in self.symbols)
        return replace(self, sequences=sequences, units=units)

    def save(self, path: str | Path) -> None:
        """Write the keyword as JSON, in unit symbols: any model with these units can read it, if it has no head.

        Raises:
            OSError: if the file cannot be written; one that was there before is left as it is.
            UsageError: if `path` is a folder.
        """
        from lcspeech import pretrained  # which imports this module

        fields = {
            "format": FILE_FORMAT,
            "name": self.name,
            "pronunciations": [" ".join(sequence) for sequence in self.symbols],
            "threshold": self.threshold,
            "scores": list(self.scores),
            **({"model": self.model} if self.model else {}),
            **({} if self.calibration is None else {"calibration": dict(self.calibration)}),
            **({} if self.head is None else {"head": self.head.to_json()}),
        }
        pretrained.write(Path(path), (json.dumps(fields, indent=2, ensure_ascii=False) + "\n").encode())

    @classmethod
    def load(cls, path: str | Path, units: Units = PHONEMES) -> Keyword:
        """Read what `save` wrote, into the indices of `units`.

        Raises:
            UsageError: if the file cannot be read, is no keyword, or is of a later format.
        """
        try:
            fields = json.loads(Path(path).read_text(encoding="utf-8"))
            if fields["format"] != FILE_FORMAT:
                raise UsageError(
                    f"a keyword of format {fields['format']}, this version reads {FILE_FORMAT}; "
                    "install the lcspeech that wrote it, or enroll again"
                )
            return cls._read(fields, units)
        except UsageError as error:
            raise UsageError(f"'{path}': {error}") from error
        except OSError as error:
            raise UsageError(f"cannot read the keyword file '{path}' ({error.strerror})") from error
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise UsageError(f"'{path}' is not a keyword file ({error}); 'lcspeech enroll' writes them") from error

    @classmethod
    def _read(cls, fields: dict[str, Any], units: Units) -> Keyword:
        name = fields["name"]
        if not isinstance(name, str):
            raise TypeError("its name is no text")
        sequences = tuple(units.encode(spelling.split()) for spelling in fields["pronunciations"])
        scores = tuple(float(score) for score in fields["scores"])
        head = Head.from_json(fields["head"]) if "head" in fields else None
        calibration = fields.get("calibration")
        if not isinstance(calibration, dict | None):
            raise TypeError("its calibration is no object")
        model = fields.get("model", "")
        if not isinstance(model, str):
            raise TypeError("its model is no name")
        return cls(name, sequences, float(fields["threshold"]), units, scores, calibration, head, model)
