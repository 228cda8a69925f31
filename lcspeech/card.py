"""The model card: all that a model says about itself, stored as JSON in its ONNX metadata and beside it.

Nothing about a model is typed a second time in code: feature settings, units, states, keywords, calibration,
data and licences are read from here, and a card that this version cannot honour is refused.
"""

from __future__ import annotations

import dataclasses
import json
import math
import types
import typing
from dataclasses import dataclass, field
from typing import Any

from lcspeech.errors import ModelError, UsageError
from lcspeech.units import Keyword, Units

REMEMBERED_FRAMES = 16  # of log-probs, from which a resting search goes on: more than the longest run of blanks
FORMAT = 1  # raised when a card of an older form can no longer be read
METADATA_KEY = "lcspeech_card"  # its key among the ONNX file's metadata
NETWORK_KEY = "lcspeech_network"  # that of the SHA-256 of its graph, which stays when the card becomes another
GATE_KEY = "lcspeech_gate"  # that of a dynamic model's gate: another ONNX file, in base64


@dataclass(frozen=True)
class FeatureSettings:
    """The log-mel front end. Frame t sees samples ``[hop * t, hop * t + window)``; all but the bands in samples."""

    sample_rate: int = 16_000  # Hz
    window: int = 400  # 25 ms
    hop: int = 160  # 10 ms
    n_fft: int = 512
    n_mels: int = 40
    f_min: float = 20.0  # Hz
    f_max: float = 8_000.0  # Hz
    floor: float = 1e-6  # added to each band's power before the logarithm

    def __post_init__(self) -> None:
        if self.n_mels < 1 or not 0 < self.floor < math.inf:
            raise ModelError(f"impossible feature settings: {self}")
        if not 0 < self.hop <= self.window <= self.n_fft or not 0 <= self.f_min < self.f_max <= self.sample_rate / 2:
            raise ModelError(f"impossible feature settings: {self}")
        if self.sample_rate % self.hop:
            raise ModelError(f"a hop of {self.hop} samples does not divide a second of {self.sample_rate}")

    @property
    def frame_rate(self) -> int:
        """Frames per second."""
        return self.sample_rate // self.hop


@dataclass(frozen=True)
class StateSpec:
    """One recurrent state of the network: its input's name in the graph and its shape for one stream."""

    name: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class WordSpec:
    """A word and its pronunciations, each a sequence of unit symbols."""

    name: str
    pronunciations: tuple[tuple[str, ...], ...]
    threshold: float = 0.5


@dataclass(frozen=True)
class SearchSettings:
    """How keywords are told from everything else; chosen on validation data, see decoder.py and scoring.py."""

    blanks_before: int = 3  # output frames of blank that must precede a keyword
    blanks_after: int = 1  # and follow it: what keeps "four" from being heard in "forward"; each one is waited for
    slope: float = 1.0  # score = sigmoid(slope * log-odds + offset)
    offset: float = 0.0
    unknown_bias: float = 0.0  # nats added to "anything else" when a clip is classified
    silence_bias: float = 0.0  # nats added to "nothing" then
    start_delay: float = 0.0  # seconds by which a word's first unit is spelled late, in the median
    end_delay: float = 0.0  # the same of its last unit
    temperature: float = 1.0  # that softens the log-probs before the search

    def __post_init__(self) -> None:
        _check_search(self)


@dataclass(frozen=True)
class OpenSettings:
    """The same for open words, typed or recorded, which the network was not trained to tell; see search.py."""

    temperature: float = 2.0  # that softens the log-probs; higher ones hear words in mere noise
    blanks_before: int = 3  # output frames of blank that must precede an open word
    blanks_after: int = 3  # and follow it
    slope: float = 1.0  # score = sigmoid(slope * log-odds + offset + per_unit * units + their sum of by_unit)
    offset: float = 0.0
    per_unit: float = 0.0
    by_unit: tuple[float, ...] = ()  # for each unit, more of those that talk is rarely taken for; (): the same for all
    false_alarms: tuple[
        float, ...
    ] = ()  # per hour of speech, of typed words of 1, 2, 3 ... units at a threshold of 0.5

    def __post_init__(self) -> None:
        _check_search(self)


def _check_search(settings: SearchSettings | OpenSettings) -> None:
    numbers = [value for value in dataclasses.astuple(settings) if not isinstance(value, tuple)]
    if not all(map(math.isfinite, numbers)) or min(settings.blanks_before, settings.blanks_after) < 0:
        raise ModelError(f"impossible search settings: {settings}")
    if not (settings.temperature > 0 and settings.slope > 0):
        raise ModelError(f"impossible search settings: {settings}")


@dataclass(frozen=True)
class GateSettings:
    """The gate of a dynamic model, see gate.py. All in log-mel frames, but the width and the doubt."""

    hidden: int = 0  # width of its state; 0: there is no gate
    step: int = 12  # between its decisions
    replay: int = 48  # that the encoder hears again when it opens
    doubt: float = 0.2  # the probability of being needed from which it opens

    def __post_init__(self) -> None:
        if self.hidden < 0 or self.step < 1 or self.replay < 1 or not 0 < self.doubt < 1:
            raise ModelError(f"impossible gate settings: {self}")
        if self.replay % self.step:
            raise ModelError(f"a gate hears {self.replay} frames again; give a multiple of its step, {self.step}")


@dataclass(frozen=True)
class DataSource:
    """Data that the weights were trained on."""

    name: str
    licence: str
    source: str
    amount: str


@dataclass(frozen=True)
class ModelCard:
    """What a model is: see the module's docstring. `keywords` are spotted, `fillers` are known words that are not."""

    name: str
    description: str
    units: tuple[str, ...]
    time_stride: int  # log-mel frames per output frame
    states: tuple[StateSpec, ...]
    keywords: tuple[WordSpec, ...]
    fillers: tuple[WordSpec, ...]
    parameters: int
    licence: str
    data: tuple[DataSource, ...]
    features: FeatureSettings = field(default_factory=FeatureSettings)
    search: SearchSettings = field(default_factory=SearchSettings)
    open: OpenSettings = field(default_factory=OpenSettings)
    gate: GateSettings = field(default_factory=GateSettings)
    macs_per_second: int = 0  # multiply-accumulates per second of audio; 0: not counted
    verified: bool = False  # after the units' log-probs, the network gives evidence for each known word: see search.py
    hidden: int = 0  # outputs of the GRU, which come last, for heads to read: see heads.py; 0: they are not given
    format: int = FORMAT

    def __post_init__(self) -> None:
        if self.time_stride < 1:
            raise ModelError(f"an impossible time stride of {self.time_stride}")
        if self.open.by_unit and len(self.open.by_unit) != len(self.units):
            raise ModelError(f"weights of {len(self.open.by_unit)} units, and there are {len(self.units)}")
        if self.hidden < 0 or (self.hidden and self.gate.hidden):  # closed, a gate has nothing for heads to read
            raise ModelError(f"impossible outputs: {self.hidden} for heads, behind a gate of {self.gate.hidden}")
        asked = (self.search.blanks_before, self.search.blanks_after, self.open.blanks_before, self.open.blanks_after)
        if max(asked) >= REMEMBERED_FRAMES:
            raise ModelError(f"a search for {max(asked)} blanks; there are {REMEMBERED_FRAMES - 1} at most")

    @property
    def frame_seconds(self) -> float:
        """Seconds of audio per output frame."""
        return self.time_stride / self.features.frame_rate

    @property
    def open_search(self) -> SearchSettings:
        """How open words are searched; their score is made by `search.Search`."""
        return dataclasses.replace(
            self.search,
            temperature=self.open.temperature,
            blanks_before=self.open.blanks_before,
            blanks_after=self.open.blanks_after,
            slope=1.0,
            offset=0.0,
        )

    @property
    def columns(self) -> int:
        """Numbers that the network gives for each output frame: log-probs, evidence for words, the GRU's outputs."""
        return len(self.units) + self.verified * (len(self.keywords) + len(self.fillers)) + self.hidden

    def spotted(self) -> tuple[Keyword, ...]:
        """The keywords as unit indices."""
        return self._encode(self.keywords)

    def known(self) -> tuple[Keyword, ...]:
        """Keywords and fillers: the closed set that a clip is scored against."""
        return self._encode(self.keywords + self.fillers)

    def to_json(self, indent: int | None = 2) -> str:
        """The card as JSON; without `indent` in as few characters as it takes."""
        separators = None if indent else (",", ":")
        return json.dumps(dataclasses.asdict(self), indent=indent, separators=separators, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> ModelCard:
        """Read a card.

        Raises:
            ModelError: if it is not a card, or one of another format.
        """
        try:
            fields = json.loads(text)
            if fields["format"] != FORMAT:
                raise ModelError(
                    f"model card of format {fields['format']}, this version reads {FORMAT}; "
                    "install the lcspeech that the model was made with, or export it again"
                )
            card = _build(cls, fields)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ModelError(f"not a model card of lcspeech ({error}); export the model again") from error
        assert isinstance(card, ModelCard)
        return card

    def _encode(self, words: tuple[WordSpec, ...]) -> tuple[Keyword, ...]:
        units = Units(self.units)
        try:
            return tuple(Keyword.spelled(w.name, w.pronunciations, units, w.threshold) for w in words)
        except UsageError as error:
            raise ModelError(f"a word of the model's card: {error}; export the model again") from error


def _build(kind: Any, value: Any) -> Any:
    """Turn parsed JSON into `kind`: objects to dataclasses, lists to tuples, all checked; extra keys are errors."""
    if dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        return kind(**{key: _build(hints[key], item) for key, item in value.items()})  # type: ignore[operator]
    if typing.get_origin(kind) is tuple:
        if not isinstance(value, list):
            raise TypeError(f"expected a list, found {value!r}")
        return tuple(_build(typing.get_args(kind)[0], item) for item in value)
    if isinstance(kind, types.GenericAlias) or isinstance(value, bool) != (kind is bool):
        raise TypeError(f"unexpected {value!r}")
    if kind is float and isinstance(value, int):
        return float(value)
    if not isinstance(value, kind):
        raise TypeError(f"expected {kind.__name__}, found {value!r}")
    return value
