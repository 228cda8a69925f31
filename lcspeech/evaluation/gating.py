"""What a dynamic model's gate saves and what it costs, beside the same network without one."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lcspeech.card import GateSettings
from lcspeech.evaluation.datasets import read_samples
from lcspeech.evaluation.levels import LEVEL, levelled, rms
from lcspeech.evaluation.scenes import Scene, heard, scene
from lcspeech.evaluation.speed import live_percents
from lcspeech.search import is_gates
from lcspeech.spotter import Spotter

TALK_SECONDS = 600.0

Floats = NDArray[np.float32]


def scenes(
    clips: Sequence[tuple[str, Path]],
    talk: Sequence[Path],
    noises: Sequence[Path],
    rate: int,
    random: np.random.Generator,
) -> Iterator[tuple[str, Scene]]:
    """What a gate is measured in, by name: where it may rest, and where it may fail to hear.

    Silence, a home (noise, and one of `clips`, word and file, in a tenth of the time), talk, commands one after
    another; these whispered, in noise as loud as they are, and 30 dB quieter than usual.
    """

    def read(path: Path) -> Floats:
        return levelled(read_samples(path, rate), rate)

    said = [(word, read(path)) for word, path in clips]
    loud = [read(path) for path in noises]
    noise = np.concatenate([loud[i] for i in random.permutation(len(loud))])
    heard: list[tuple[str, Floats]] = []
    for path in talk:
        heard.append(("", read(path)))
        if sum(len(samples) for _, samples in heard) > TALK_SECONDS * rate:
            break
    yield "silence", Scene((1e-4 * random.standard_normal(60 * rate)).astype(np.float32), ())
    yield "home", with_noise(scene(said[::5], rate, pause=9.0), noise, LEVEL / 10)
    yield "talk", scene(heard, rate)
    commands = scene(said, rate)
    yield "commands", commands
    yield "whispered", scene([(word, whispered(clip, rate, random)) for word, clip in said], rate)
    yield "noise at 0 dB", with_noise(commands, noise, LEVEL)
    yield "30 dB quieter", commands.fainter(30.0)


def compare(gated: Spotter, ungated: Spotter, scene: Scene) -> dict[str, Any]:
    """Play a scene live to both. `open` is the share of it that the network behind the gate listens to."""
    rate = gated.card.features.sample_rate
    rows = gated.log_probs(scene.samples, sample_rate=rate, trailing=False)
    costs = live_percents((gated, ungated), scene.samples, rate)
    return {
        "seconds": round(len(scene.samples) / rate, 1),
        "words": len(scene.words),
        "speech": round(scene.speech, 3),
        "open": round(float(1 - is_gates(rows).mean()), 3),
        "cpu_saved": round(1 - costs[0] / costs[1], 3),
        **{
            name: {"percent_of_a_core": round(cost, 4), **heard(spotter, scene)}
            for name, spotter, cost in zip(("gated", "ungated"), (gated, ungated), costs, strict=True)
        },
    }


def without_gate(spotter: Spotter) -> Spotter:
    """The same network, keywords and thresholds, and nothing in front of it."""
    encoder = copy.copy(spotter.encoder)
    encoder.card = dataclasses.replace(encoder.card, gate=GateSettings())
    return Spotter(encoder, spotter.keywords)


def with_noise(quiet: Scene, noise: Floats, level: float) -> Scene:
    """A scene in which `noise` is heard too, over and over, with a root mean square of `level`."""
    noisy = quiet.samples + np.float32(level / rms(noise)) * np.resize(noise, len(quiet.samples))
    return dataclasses.replace(quiet, samples=noisy)


def whispered(samples: Floats, rate: int, random: np.random.Generator) -> Floats:
    """The same word without a voice: noise with the spectral envelope of each moment, its level kept."""
    size, hop = rate // 40, rate // 160  # 25 ms, a quarter of it
    window = np.hanning(size).astype(np.float32)
    padded = np.pad(samples, size)
    noise = random.standard_normal(len(padded)).astype(np.float32)
    result, lifter = np.zeros(len(padded), np.float32), size // 16  # cepstrum below 640 Hz of pitch: the envelope
    for start in range(0, len(padded) - size, hop):
        voice, breath = (np.fft.rfft(window * x[start : start + size]) for x in (padded, noise))
        cepstrum = np.fft.irfft(np.log(np.abs(voice) + 1e-5))
        cepstrum[lifter:-lifter] = 0
        envelope = np.exp(np.fft.rfft(cepstrum).real)
        result[start : start + size] += window * np.fft.irfft(envelope * breath / np.abs(breath).mean(), size)
    result = result[size : size + len(samples)]
    return result * np.float32(rms(samples) / max(1e-9, rms(result)))
