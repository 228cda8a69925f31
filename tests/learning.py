"""For tests that learn words: a tenth of the talk, and a few of the steps."""

from __future__ import annotations

from pathlib import Path

import pytest
import soundfile

from lcspeech import learning, pretrained
from tests.words import RATE

TALK = pretrained.shipped() / learning.TALK
STEPS = 40


def learn_briefly(patch: pytest.MonkeyPatch, folder: Path, steps: int = STEPS) -> Path:
    """Have words be learned quickly, if not well; returns the file with what there is of talk."""
    talk = folder / "talk.flac"
    soundfile.write(talk, soundfile.read(TALK, frames=120 * RATE, dtype="float32")[0], RATE)
    patch.setattr(learning, "TALK", talk)
    patch.setattr(learning, "STEPS", steps)
    patch.setattr(learning, "_TALK_COPIES", 1)
    patch.setattr(learning, "_LEAST_TALK_SECONDS", 100.0)
    patch.setattr(learning, "_NOISES", 20)
    patch.setattr(learning, "_VARIED", 60)
    return talk
