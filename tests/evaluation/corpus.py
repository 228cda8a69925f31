"""Folders in the layouts of public data sets, with words from the bundled recording and generated noise."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

RATE = 16_000
DEMO = Path(__file__).parents[2] / "demos" / "audio" / "commands.flac"


def demo_words() -> list[tuple[str, NDArray[np.float32]]]:
    """The words of the bundled recording, one by one, with a bit of what is around them."""
    samples, rate = soundfile.read(DEMO, dtype="float32")
    assert rate == RATE
    words = []
    for event in json.loads(DEMO.with_suffix(".json").read_text())["events"]:
        start, end = (round(seconds * RATE) for seconds in (event["start"] - 0.2, event["end"] + 0.2))
        words.append((event.get("keyword", event.get("other")), samples[start:end]))
    return words


def speech_commands(root: Path) -> Path:
    """Every word of the demo as a clip of the validation split, a listed test clip, and a noise recording."""
    listed = []
    for number, (word, samples) in enumerate(demo_words()):
        name = f"{number // 2:08x}_nohash_{number % 2}"
        (root / word).mkdir(parents=True, exist_ok=True)
        soundfile.write(root / word / f"{name}.flac", samples, RATE)
        listed.append(f"{word}/{name}.wav")
    (root / "validation_list.txt").write_text("\n".join(listed[1:]) + "\n")
    (root / "testing_list.txt").write_text(listed[0] + "\n")
    noise(root / "_background_noise_" / "hiss.wav", seconds=5.0)
    return root


def noise(path: Path, seconds: float, level: float = 0.01, seed: int = 0) -> Path:
    """White noise of an RMS of `level`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = np.random.default_rng(seed).normal(0, level, round(seconds * RATE))
    soundfile.write(path, samples.astype(np.float32), RATE, subtype="FLOAT")
    return path
