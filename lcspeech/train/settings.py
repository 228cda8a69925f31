"""A training run's knobs: read from one commented TOML file, whose comments are also the command line's help."""

from __future__ import annotations

import argparse
import dataclasses
import re
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lcspeech.errors import UsageError

NORMS_FROM = ("all", "utterances", "segments")
_COUNTS = (
    *("epochs", "steps_per_epoch", "batch", "utterance_batch", "alarms_every"),
    *("hidden", "segment_frames", "threads", "gate_hidden"),
)
_SHARES = (
    *("silence_share", "talk_share", "hard_share", "babble_share", "synthetic_share", "noise_probability"),
    *("room_probability", "band_limit_probability", "reset_probability", "average", "dropout", "compute_budget"),
    "gate_doubt",
)
_NOT_NEGATIVE = (
    *("seed", "matrix_learning_rate", "weight_decay", "warmup_epochs", "ramp_epochs", "norm_epochs", "ctc_weight"),
    *("pooled_weight", "distillation_weight", "verifier_hours", "trailing_frames", "picture_share", "gain_db"),
    *("tilt_db", "masks", "mask_epochs", "mask_frames", "mask_bands", "utterance_every", "utterance_weight", "spliced"),
    *("false_alarm_weight", "alarms_per_hour", "open_alarms_per_hour", "phoneme_score", "enough_clips"),
    *("replay_frames", "open_epochs", "compute_weight"),
)
_SOURCES = ("clips_source", "talk_source", "noise_source")
_LIMITS: tuple[tuple[tuple[str, ...], Callable[[Any], bool], str], ...] = (  # settings, what fits them, in words
    (_COUNTS, lambda value: value >= 1, "1 or more"),
    (_SHARES, lambda value: 0 <= value <= 1, "a share from 0 to 1"),
    (("scale", "learning_rate", "gradient_clip", "temperature"), lambda value: value > 0, "more than 0"),
    (("speed", "warp"), lambda value: 0 <= value < 1, "0 or more, below 1"),
    (_NOT_NEGATIVE, lambda value: value >= 0, "0 or more"),
    (_SOURCES, lambda value: len(value) == 3, "three: its name, licence and address, which go into the model card"),
    (("snr_db", "rt60_frames"), lambda v: len(v) == 2 and v[0] <= v[1], "two numbers, the lower one first"),
    (("rt60_frames",), lambda value: value[0] > 0, "numbers above 0"),
    (("norms_from",), lambda value: value in NORMS_FROM, f"one of {', '.join(NORMS_FROM)}"),
    (("name",), lambda value: value not in ("", "..") and Path(value).name == value, "a folder's name, without others"),
)


@dataclass(frozen=True)
class TrainSettings:
    """See ``recipes/train_kws.toml`` for what each one means; every field must be there, and no other."""

    name: str
    description: str
    keywords: tuple[str, ...]
    scale: float
    hidden: int
    dropout: float
    seed: int
    epochs: int
    steps_per_epoch: int
    batch: int
    learning_rate: float
    matrix_learning_rate: float
    weight_decay: float
    gradient_clip: float
    average: float
    warmup_epochs: int
    ramp_epochs: int
    norm_epochs: int
    norms_from: str
    ctc_weight: float
    pooled_weight: float
    distillation_weight: float
    verifier_hours: float
    segment_frames: int
    trailing_frames: int
    reset_probability: float
    picture_share: float
    silence_share: float
    talk_share: float
    hard_share: float
    noise_probability: float
    snr_db: tuple[float, ...]
    babble_share: float
    gain_db: float
    tilt_db: float
    speed: float
    warp: float
    room_probability: float
    rt60_frames: tuple[float, ...]
    band_limit_probability: float
    cut_frames: int
    masks: int
    mask_epochs: int
    mask_frames: int
    mask_bands: int
    utterance_every: int
    utterance_batch: int
    utterance_weight: float
    synthetic_share: float
    spliced: int
    alarms_every: int
    false_alarm_weight: float
    validation_speakers: tuple[str, ...]
    clips_source: tuple[str, ...]
    talk_source: tuple[str, ...]
    noise_source: tuple[str, ...]
    alarms_per_hour: float
    open_alarms_per_hour: float
    phoneme_score: float
    temperature: float
    louder_db: float
    enough_clips: int
    threads: int
    gate_hidden: int
    replay_frames: int
    open_epochs: int
    compute_budget: float
    compute_weight: float
    gate_doubt: float


def load_settings(*paths: Path, overrides: dict[str, Any] | None = None) -> TrainSettings:
    """Settings from TOML files, of which a later one replaces some of the earlier ones', and `overrides` at last.

    Raises:
        UsageError: if a file is not TOML, or a key is unknown, missing or of the wrong type.
    """
    values: dict[str, Any] = {}
    known = {field.name for field in dataclasses.fields(TrainSettings)}
    for path in paths:
        try:
            read = tomllib.loads(path.read_text("utf-8"))
        except (OSError, ValueError) as error:  # not TOML, or not even text
            raise UsageError(f"cannot read the settings in '{path}': {error}") from error
        if unknown := sorted(read.keys() - known):
            raise UsageError(f"unknown setting '{unknown[0]}' in '{path}'; known are: {', '.join(sorted(known))}")
        values |= read
    values |= overrides or {}
    if unknown := sorted(values.keys() - known):
        raise UsageError(f"unknown setting '{unknown[0]}'; known are: {', '.join(sorted(known))}")
    if missing := sorted(known - values.keys()):
        files = " and ".join(f"'{path}'" for path in paths)
        raise UsageError(f"setting '{missing[0]}' is missing in {files}")
    fields: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in values.items()}
    for field in dataclasses.fields(TrainSettings):
        _check_type(field.name, str(field.type), fields[field.name])
    _check_values(fields)
    return TrainSettings(**fields)


def _check_type(name: str, kind: str, value: Any) -> None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    fits = {
        "str": isinstance(value, str),
        "int": number and isinstance(value, int),
        "float": number,
        "tuple[str, ...]": isinstance(value, tuple) and all(isinstance(item, str) for item in value),
        "tuple[float, ...]": isinstance(value, tuple) and all(isinstance(item, int | float) for item in value),
    }
    if not fits[kind]:
        raise UsageError(f"setting '{name}' is {value!r}; it must be of type {kind}")


def _check_values(fields: dict[str, Any]) -> None:
    for names, fits, wanted in _LIMITS:
        for name in names:
            if not fits(fields[name]):
                raise UsageError(f"setting '{name}' is {fields[name]}; give {wanted}")
    if not 0 <= fields["cut_frames"] < fields["segment_frames"] // 4:
        raise UsageError(f"setting 'cut_frames' is {fields['cut_frames']}; give 0 or more, and leave some of a clip")
    if len(set(fields["keywords"])) != len(fields["keywords"]) or not fields["keywords"]:
        raise UsageError(f"setting 'keywords' is {' '.join(fields['keywords'])}; give words, each of them once")


def add_arguments(parser: argparse._ActionsContainer, *paths: Path) -> None:
    """One flag for each number or text in the TOML files, with the first one's comment as its help."""
    values: dict[str, Any] = {}
    for path in paths:
        values |= tomllib.loads(path.read_text())
    comments = dict(re.findall(r"^(\w+) *=.*?# *(.+)$", paths[0].read_text(), re.MULTILINE))
    for key, value in values.items():
        flag, text = f"--{key.replace('_', '-')}", f"{comments.get(key, key)} (default: {value})".replace("%", "%%")
        if isinstance(value, list):
            kind = type(value[0])
            parser.add_argument(flag, nargs="+", type=kind, metavar=kind.__name__.upper(), help=text)
        else:
            parser.add_argument(flag, type=type(value), metavar=type(value).__name__.upper(), help=text)


def overrides(args: argparse.Namespace) -> dict[str, Any]:
    """The settings among parsed arguments that were given."""
    known = {field.name for field in dataclasses.fields(TrainSettings)}
    return {key: value for key, value in vars(args).items() if key in known and value is not None}
