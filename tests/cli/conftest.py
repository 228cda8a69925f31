"""What the tests of the command line share: the shipped model, real words, and a microphone made of a list."""

from __future__ import annotations

import json
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from lcspeech import Spotter, pretrained

MODEL = "commands"
RATE = 16_000
DEMO = Path(__file__).parents[2] / "demos" / "audio" / "commands.flac"


@dataclass(frozen=True)
class Recording:
    """Words over noise: the file, its samples and its true events."""

    path: Path
    samples: NDArray[np.int16]
    truth: list[dict[str, Any]]


@pytest.fixture(scope="session")
def spotter() -> Spotter:
    """The default model."""
    return Spotter.load()


@pytest.fixture(scope="session")
def recording() -> Recording:
    """The bundled recording; in CI it must be there."""
    if not DEMO.exists() and "CI" not in os.environ:
        pytest.skip(f"{DEMO.name} is not there; recipes/demo_audio.py makes it")
    samples, rate = soundfile.read(DEMO, dtype="int16")
    assert rate == RATE
    truth = json.loads(DEMO.with_suffix(".json").read_text())["events"]
    return Recording(DEMO, samples, [event for event in truth if "keyword" in event])


@pytest.fixture(scope="session")
def expected(spotter: Spotter, recording: Recording) -> list[dict[str, Any]]:
    """The recording's events by the Python interface, as the commands write them in JSON."""
    return [
        {"keyword": e.keyword, "start": round(e.start, 3), "end": round(e.end, 3), "score": round(e.score, 4)}
        for e in spotter.spot(recording.path)
    ]


@pytest.fixture
def silence(tmp_path: Path) -> Path:
    """A second of digital silence."""
    path = tmp_path / "silence.wav"
    soundfile.write(path, np.zeros(RATE, np.int16), RATE)
    return path


@pytest.fixture
def model_folder(tmp_path: Path) -> Path:
    """A copy of the shipped model, to be damaged."""
    return Path(shutil.copytree(pretrained.shipped() / MODEL, tmp_path / "model"))


def fake_sounddevice(monkeypatch: pytest.MonkeyPatch, *devices: dict[str, Any], default: int = -1) -> None:
    """Make these all the devices that PortAudio knows."""
    module = SimpleNamespace(query_devices=lambda: list(devices), default=SimpleNamespace(device=[default, -1]))
    monkeypatch.setitem(sys.modules, "sounddevice", module)


def no_microphone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that can play but not record."""
    loudspeaker = {"name": "Loudspeaker", "max_input_channels": 0, "default_samplerate": 48000.0}
    fake_sounddevice(monkeypatch, loudspeaker)
