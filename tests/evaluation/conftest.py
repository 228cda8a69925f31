"""A spotter whose hearing is known: it hears a keyword where a sample has that keyword's value."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from lcspeech.evaluation.protocols import Recording
from lcspeech.trigger import Event

RATE = 16_000
VALUES = {"yes": 0.25, "no": 0.5}


class FakeStream:
    sample_rate = RATE

    def __init__(self) -> None:
        self.samples = 0
        self.blocks: list[int] = []

    def __enter__(self) -> FakeStream:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    @property
    def seconds(self) -> float:
        return self.samples / RATE

    def feed(self, block: NDArray[np.float32]) -> list[Event]:
        self.samples += len(block)
        self.blocks.append(len(block))
        heard = [(int(at), word) for word, value in VALUES.items() for at in np.flatnonzero(block == value)]
        return [Event(word, at / RATE, at / RATE, 0.9) for at, word in sorted(heard)]


class FakeSpotter:
    """`classify` says the keyword that is heard, else "unknown" if there is any sound, else "silence"."""

    def __init__(self) -> None:
        self.keywords = tuple(SimpleNamespace(name=word) for word in VALUES)
        self.card = SimpleNamespace(features=SimpleNamespace(sample_rate=RATE))
        self.streams: list[FakeStream] = []

    def stream(self) -> FakeStream:
        self.streams.append(FakeStream())
        return self.streams[-1]

    def classify(self, path: Path, block: int) -> tuple[tuple[str, float], ...]:
        assert block == 1_280
        samples, _ = soundfile.read(path, dtype="float32")
        words = [event.keyword for event in FakeStream().feed(samples)]
        return (((words or ["unknown" if samples.any() else "silence"])[0], 1.0),)


@pytest.fixture
def spotter() -> Any:
    return FakeSpotter()


@pytest.fixture
def record(tmp_path: Path) -> Any:
    """``record("yes no", "no")``: a recording with the transcript "yes no" in which "no" sounds."""
    count = 0

    def make(transcript: str, *sounds: str, seconds: float = 1.0) -> Recording:
        nonlocal count
        count += 1
        samples = np.zeros(round(seconds * RATE), np.float32)
        for i, sound in enumerate(sounds):
            samples[4_000 + 2_000 * i] = VALUES.get(sound, 0.125)
        path = tmp_path / f"{count}.wav"
        soundfile.write(path, samples, RATE, subtype="FLOAT")
        return Recording(path, tuple(transcript.split()))

    return make
