"""A few minutes of the soak: the long one is recipes/soak.py."""

from __future__ import annotations

import json
import math
import mmap
import runpy
from pathlib import Path

import numpy as np
import pytest
import soundfile

from lcspeech import Event, Spotter
from lcspeech.evaluation import soak as module
from lcspeech.evaluation.soak import resident_mib, soak

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "demos" / "audio" / "commands.flac"


def test_memory_stays_flat_and_event_times_stay_true() -> None:
    said = json.loads(DEMO.with_suffix(".json").read_text())["events"]
    truth = [Event(word["keyword"], word["start"], word["end"], 1.0) for word in said if "keyword" in word]
    seconds = math.ceil(soundfile.info(DEMO).duration / 0.04) * 0.04
    # with no phase each round is to the model as the one before
    figures = soak(Spotter.load(), DEMO, truth, hours=5, hour_seconds=seconds, phase=0.0)
    assert figures.audio_hours == pytest.approx(5 * seconds / 3_600, rel=1e-3)
    assert figures.hours[0].found > 0.5
    assert figures.memory_growth_mib < 4
    assert abs(figures.drift_ms) < 10  # the first round has no speech before it
    for hour in figures.hours[2:]:
        assert hour.events == figures.hours[1].events
        assert hour.late_ms == pytest.approx(figures.hours[1].late_ms, abs=0.01)


def test_lateness_is_against_the_word_that_was_said() -> None:
    truth = [Event("up", 1.0, 1.5, 1.0), Event("up", 5.0, 5.5, 1.0), Event("down", 8.0, 8.4, 1.0)]
    events = [
        Event("up", 1.1, 1.6, 0.9),
        Event("up", 25.1, 25.4, 0.9),  # in the third round of 10 s
        Event("down", 1.1, 1.6, 0.9),  # nobody said that there
        Event("down", 38.1, 38.4, 0.9),
    ]
    np.testing.assert_allclose(module._late(events, truth, 10.0), [0.1, -0.1, 0.0], atol=1e-9)


def test_memory_that_grows_is_seen() -> None:
    before, mib = resident_mib(), 38
    # Asked of the system: numpy may get memory that earlier tests have given back and the process has kept
    with mmap.mmap(-1, mib * 2**20) as held:
        for _ in range(mib):
            held.write(bytes(2**20))
        grown = resident_mib() - before
    assert grown == pytest.approx(mib, abs=4)


def test_the_recipe_writes_figures(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    recipe = runpy.run_path(str(ROOT / "recipes" / "soak.py"))
    short = soak
    monkeypatch.setitem(recipe["main"].__globals__, "soak", lambda *args: short(*args[:3], hours=2, hour_seconds=10.0))
    assert recipe["main"](["--output", str(tmp_path / "soak.json")]) == 0
    figures = json.loads((tmp_path / "soak.json").read_text())
    assert figures["command"].startswith("python recipes/soak.py --output")
    assert len(figures["hours"]) == 2
    assert recipe["main"](["--model", "banana", "--output", str(tmp_path / "soak.json")]) == 1
    assert recipe["main"](["--hours", "1"]) == 1
