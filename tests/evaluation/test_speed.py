"""The figures of speed: that they are measured, and of what, not how large they are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lcspeech import UnknownModelError
from lcspeech.evaluation import speed
from lcspeech.evaluation.speed import measure_speed

DEMO = Path(__file__).parents[2] / "demos" / "audio" / "commands.flac"


def test_the_figures_follow_from_the_times(monkeypatch: pytest.MonkeyPatch) -> None:
    programs: list[str] = []

    def process(program: str) -> float:
        programs.append(program)
        return {"pass": 0.5, "import lcspeech": 0.53}.get(program, 0.75)

    def cpu(work: object) -> float:
        assert callable(work)
        work()
        return 0.02

    monkeypatch.setattr(speed, "_process_seconds", process)
    monkeypatch.setattr(speed, "_cpu_seconds", cpu)
    figures = measure_speed(None, DEMO, file_seconds=4.0)
    assert figures["import_ms"] == pytest.approx(30)
    assert figures["spot_one_second_clip_s"] == pytest.approx(0.25)
    assert figures["spot_file_times_real_time"] == pytest.approx(200)
    assert figures["live_percent_of_a_core"] == {
        "16000 Hz": pytest.approx(2 / 59.8, rel=0.01),
        "48000 Hz": pytest.approx(2 / 59.8, rel=0.01),
    }
    assert "clip.wav" in programs[-1]
    json.dumps(figures)


def test_times_are_medians(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0, 1, 10, 19, 20, 22, 30, 33, 40, 42.5])
    monkeypatch.setattr(speed.time, "process_time", lambda: next(clock))
    assert speed._cpu_seconds(lambda: None) == 2.5


def test_a_process_takes_time_and_must_succeed() -> None:
    assert 0 < speed._process_seconds("pass") < 10
    with pytest.raises(speed.subprocess.CalledProcessError):
        speed._process_seconds("raise SystemExit(1)")


def test_an_unknown_model_is_refused() -> None:
    with pytest.raises(UnknownModelError):
        measure_speed("banana", DEMO)
