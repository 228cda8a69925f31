"""Checkpoint -> model folder: export, calibrate, measure and describe, all on the file that is shipped."""

from __future__ import annotations

import copy
import dataclasses
import json
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import torch

from lcspeech import pretrained
from lcspeech.card import FeatureSettings, GateSettings, ModelCard
from lcspeech.errors import UsageError
from lcspeech.evaluation.calibration import calibrate
from lcspeech.evaluation.figures import today
from lcspeech.evaluation.open_words import calibrate_open, draw_words
from lcspeech.evaluation.protocols import Validation, measure
from lcspeech.pronunciation import everything
from lcspeech.spotter import Spotter
from lcspeech.train.augment import NATS_PER_DB
from lcspeech.train.export import count_macs, export, macs_per_second
from lcspeech.train.gate import GateNetwork, step_frames, to_onnx
from lcspeech.train.loop import read_checkpoint, settings_of
from lcspeech.train.network import Network
from lcspeech.train.settings import TrainSettings

Hearing = TypeVar("Hearing", Network, GateNetwork)


def export_checkpoint(checkpoint: Path, folder: Path, int8: bool = False, calibrated: ModelCard | None = None) -> float:
    """Write a checkpoint's model folder with an uncalibrated card; returns the largest difference to torch.

    A model's folder that is there is replaced as a whole: the figures in it are another's.

    With `int8` the file holds rounded weights, see quantise.py. `calibrated` is the card of a model that was installed
    from the checkpoint, whose thresholds and calibration are taken over.

    Raises:
        UsageError: if it is not a checkpoint, or `calibrated` is the card of a model of another kind, or `folder` holds
            what is no model.
        ModelError: if the exported file does not compute what torch computes; nothing is written then.
    """
    network, card = _read(checkpoint)
    if calibrated is not None:
        if _kind(calibrated) != _kind(card):
            raise UsageError(f"'{calibrated.name}' is not like '{checkpoint}'; give the model that was made from it")
        card = dataclasses.replace(card, keywords=calibrated.keywords, search=calibrated.search, open=calibrated.open)
    with pretrained.replacing(folder) as building:
        difference = export(network, card, building / pretrained.MODEL, int8)
        (building / pretrained.CARD).write_text(card.to_json())
        pretrained.write_checksums(building)
    return difference


def _kind(card: ModelCard) -> tuple[Any, ...]:
    """What two models of one network have in common."""
    return card.units, card.states, card.verified, card.gate.hidden > 0, _words(card)


def install(
    checkpoint: Path,
    folder: Path,
    settings: TrainSettings,
    trained: dict[str, dict[str, int]],
    data: Validation,
    command: str,
    gate: GateNetwork | None = None,
) -> dict[str, Any]:
    """Export, calibrate and measure a checkpoint on validation data, and put the result at `folder`; returns metrics.

    `trained`: training recordings and pictures per word. With a `gate` before the network the model is dynamic.
    Its weights are those of 8 bits (quantise.py); they are calibrated and measured as such.
    The folder is built beside its place and renamed when it is complete.
    """
    with pretrained.replacing(folder) as building:
        return _build(building, checkpoint, settings, trained, data, command, gate)


def _build(
    folder: Path,
    checkpoint: Path,
    settings: TrainSettings,
    trained: dict[str, dict[str, int]],
    data: Validation,
    command: str,
    gate: GateNetwork | None,
) -> dict[str, Any]:
    network, card = _read(checkpoint)
    graph = b""
    if gate is not None:
        graph = to_onnx(_louder(gate, settings_of(checkpoint)["louder_db"]))
        card = gated(card, gate, settings)
    export(network, card, folder / pretrained.MODEL, int8=True, gate=graph)
    search, threshold = calibrate(Spotter.load(folder), data, settings.alarms_per_hour)
    keywords = tuple(dataclasses.replace(keyword, threshold=threshold) for keyword in card.keywords)
    typed = draw_words(everything())
    opened = calibrate_open(Spotter.load(folder), data.speech, typed, settings.open_alarms_per_hour)
    card = dataclasses.replace(card, search=search, keywords=keywords, open=opened)
    export(network, card, folder / pretrained.MODEL, int8=True, gate=graph)
    (folder / pretrained.CARD).write_text(card.to_json())
    return measure_folder(folder, settings, trained, data, command)


def measure_folder(
    folder: Path, settings: TrainSettings, trained: dict[str, dict[str, int]], data: Validation, command: str
) -> dict[str, Any]:
    """Measure the model in a folder, and write its metrics, README and checksums; arguments as of `install`."""
    spotter, recordings = Spotter.load(folder), {word: amounts["recordings"] for word, amounts in trained.items()}
    metrics = {
        "date": today(),
        "command": command,
        "machine": f"{platform.machine()}, onnxruntime {version('onnxruntime')}, one thread",
        **measure(spotter, data, recordings, settings.enough_clips),
        "trained": trained,
    }
    (folder / pretrained.METRICS).write_text(json.dumps(metrics, indent=2) + "\n")
    (folder / "README.md").write_text(describe(spotter.card, metrics))
    pretrained.write_checksums(folder)
    return metrics


def describe(card: ModelCard, metrics: dict[str, Any]) -> str:
    """The model folder's README, from its card and metrics."""
    words, fillers = (", ".join(word.name for word in group) for group in (card.keywords, card.fillers))
    rows = [
        _row("Clips labelled rightly, streamed", metrics["clips"], "accuracy", 100, "%"),
        _row("Keywords found in a stream", metrics["stream_recall"], "accuracy", 100, "%"),
    ]
    for key in ("false_alarms", "false_alarms_all_speech", "false_alarms_noise"):
        if key in metrics:
            rows.append(_row("False alarms per hour", metrics[key], "per_hour", 1, ""))
    amounts = "; ".join(f"{word} {n['recordings']}, {n['pictures']}" for word, n in metrics["trained"].items())
    data = "\n".join(f"- {d.name}: {d.amount}; {d.licence}; <{d.source}>" for d in card.data)
    return f"""# {card.name}

{card.description}. {card.parameters:,} parameters, phoneme units, {card.frame_seconds * 1000:.0f} ms frames, causal.
Weights: {card.licence}.

Keywords: {words}.
Known, and labelled "unknown": {fillers}.

## Figures

Written by the evaluation into `{pretrained.METRICS}` on {metrics["date"]} ({metrics["machine"]}) by
`{metrics["command"]}`; 95 % intervals.

| what | value | interval | on |
|---|---|---|---|
{chr(10).join(rows)}

The default threshold ({card.keywords[0].threshold:g}) and the calibration were chosen on the same validation data.
Words with few training recordings do worse; `{pretrained.METRICS}` has each word.

## Trained on

{data}

Training clips of each word, recordings and pictures: {amounts}.
"""


def _words(card: ModelCard) -> list[tuple[str, tuple[tuple[str, ...], ...]]]:
    return [(word.name, word.pronunciations) for word in (*card.keywords, *card.fillers)]


def _row(title: str, part: dict[str, Any], key: str, scale: float, unit: str) -> str:
    low, high = (f"{value * scale:.2f}" for value in part["interval"])
    amount = f"{part['total']} clips" if "total" in part else f"{part['hours']:.2f} h"
    return f"| {title} | {part[key] * scale:.2f} {unit} | {low} to {high} | {amount}: {part['what']} |"


def _read(checkpoint: Path) -> tuple[Network, ModelCard]:
    """The network as it is shipped, which takes all sound for louder than it is; its card says so by its floor."""
    network, card = read_checkpoint(checkpoint, FeatureSettings())
    macs, louder_db = macs_per_second(network, card.features.frame_rate), settings_of(checkpoint)["louder_db"]
    floor = card.features.floor / 10 ** (louder_db / 10)
    features = dataclasses.replace(card.features, floor=floor)
    return _louder(network, louder_db), dataclasses.replace(card, features=features, macs_per_second=macs)


def _louder(network: Hearing, louder_db: float) -> Hearing:
    """A copy that takes log-mel for so much louder, if its floor is lower by as much."""
    louder = copy.deepcopy(network)
    louder.mean -= louder_db * NATS_PER_DB
    return louder


def gated(card: ModelCard, gate: GateNetwork, settings: TrainSettings) -> ModelCard:
    """The card of a network with a gate in front."""
    rate = card.features.frame_rate
    frames = rate // gate.stride * gate.stride
    macs = count_macs(gate, torch.zeros(1, frames, len(gate.mean)), gate.initial_state(1)) * rate / frames
    step, replay = step_frames(rate, gate.stride), settings.replay_frames
    return dataclasses.replace(
        card,
        name=settings.name,
        description=settings.description,
        parameters=card.parameters + sum(parameter.numel() for parameter in gate.parameters()),
        macs_per_second=card.macs_per_second + round(macs),
        gate=GateSettings(settings.gate_hidden, step, replay, settings.gate_doubt),
        hidden=0,  # nothing for heads to read while it is closed
    )
