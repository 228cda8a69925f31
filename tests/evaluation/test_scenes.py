"""Words one after another: when each is said, which are found, and what is fainter."""

from __future__ import annotations

import numpy as np
import pytest

from lcspeech import Spotter
from lcspeech.evaluation.levels import levelled, rms
from lcspeech.evaluation.scenes import Scene, heard, scene
from tests.words import RATE, spoken


def test_a_scene_knows_when_its_words_are_said() -> None:
    first, second = np.ones(RATE, np.float32), np.full(RATE // 2, 2, np.float32)
    made = scene([("yes", first), ("", second), ("no", second)], RATE, pause=1.0)
    assert made.words == (("yes", 1.0, 2.0), ("no", 4.5, 5.0))
    np.testing.assert_array_equal(made.samples[RATE : 2 * RATE], first)
    assert len(made.samples) == 6 * RATE
    assert not made.samples[-RATE:].any()
    assert made.speech == pytest.approx(2 / 6)


def test_other_words_are_false_alarms() -> None:
    clip = levelled(spoken("no", 1)[0], RATE)
    made = scene([("go", clip)], RATE)
    assert heard(Spotter.load("commands-tiny"), made) == {"found": 0, "false_alarms": 1}
    right = Scene(made.samples, tuple(("no", start, end) for _, start, end in made.words))
    assert heard(Spotter.load("commands-tiny"), right) == {"found": 1, "false_alarms": 0}


@pytest.mark.parametrize("model", ["commands", "commands-tiny", "commands-dynamic"])
def test_words_are_heard_from_further_away(model: str) -> None:
    words = ("yes", "no", "down", "right", "go", "zero", "five", "one")
    made = scene([(word, levelled(clip, RATE)) for word in words for clip in spoken(word, 2)], RATE)
    faint = made.fainter(20.0)
    assert rms(faint.samples) == pytest.approx(rms(made.samples) / 10, rel=1e-3)
    spotter = Spotter.load(model)
    assert heard(spotter, faint)["found"] >= 0.85 * heard(spotter, made)["found"]
