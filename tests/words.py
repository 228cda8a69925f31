"""Spoken words for tests: cut from the bundled recording, and synthetic ones of any language by espeak-ng."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from lcspeech.audio import Resampler

DEMO = Path(__file__).parents[1] / "demos" / "audio" / "commands.flac"
RATE = 16_000
Floats = NDArray[np.float32]


def spoken(word: str, count: int = 2) -> list[Floats]:
    """The first `count` clips of a word in the bundled recording, a little of the noise around each."""
    truth = json.loads(DEMO.with_suffix(".json").read_text())["events"]
    found = [event for event in truth if event.get("keyword") == word][:count]
    samples = np.asarray(soundfile.read(DEMO, dtype="float32")[0])
    return [samples[round((e["start"] - 0.35) * RATE) : round((e["end"] + 0.35) * RATE)] for e in found]


def variants(clip: Floats, count: int) -> list[Floats]:
    """The same clip nearer, further and in noise, as if it had been recorded `count` times."""
    random = np.random.default_rng(0)
    return [
        (random.uniform(0.5, 1.5) * clip + random.normal(0, 0.002, len(clip))).astype(np.float32) for _ in range(count)
    ]


def synthetic(text: str, voice: str, pitches: tuple[int, ...], speeds: tuple[int, ...]) -> list[Floats]:
    """`text` as espeak-ng says it, at each pitch (0 to 99) and speed (words per minute), half a second of rest around.

    Without espeak-ng the test is skipped; in CI it fails.
    """
    if shutil.which("espeak-ng") is None:
        reason = "espeak-ng missing; apt-get install espeak-ng"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    rest = np.zeros(RATE // 2, np.float32)
    clips = []
    for pitch, speed in zip(pitches, speeds, strict=True):
        command = ["espeak-ng", "-v", voice, "-p", str(pitch), "-s", str(speed), "--stdout", text]
        wav = subprocess.run(command, capture_output=True, check=True).stdout
        samples, rate = soundfile.read(io.BytesIO(wav), dtype="float32")
        resampler = Resampler(rate, RATE)
        clips.append(np.concatenate([rest, resampler.process(samples), resampler.flush(), rest]))
    return clips
