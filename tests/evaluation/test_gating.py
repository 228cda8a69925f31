"""What a gate saves and costs: scenes with known words, whispers without a voice, and both models on the same sound."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from lcspeech import Spotter
from lcspeech.evaluation import gating
from lcspeech.evaluation.levels import LEVEL, active_level, levelled, rms
from lcspeech.evaluation.scenes import Scene, scene
from tests.words import RATE, spoken

RECIPE = Path(__file__).parents[2] / "recipes" / "measure_gate.py"
Floats = NDArray[np.float32]


def periodicity(samples: Floats) -> float:
    """The highest peak of the autocorrelation between 80 and 400 Hz, of the loudest 60 ms."""
    size = int(0.06 * RATE)
    power = np.convolve(samples**2, np.ones(size), "valid")
    piece = samples[int(power.argmax()) :][:size]
    full = np.correlate(piece, piece, "full")[size - 1 :]
    return float((full / full[0])[RATE // 400 : RATE // 80].max())


def test_noise_has_the_level_asked_for() -> None:
    noise = np.random.default_rng(0).normal(0, 3, 1_000).astype(np.float32)
    quiet = Scene(np.zeros(50_000, np.float32), (), 0.3)
    noisy = gating.with_noise(quiet, noise, 0.02)
    assert rms(noisy.samples) == pytest.approx(0.02, rel=1e-3)
    assert noisy.speech == quiet.speech
    clip = spoken("no", 1)[0]
    assert active_level(levelled(clip, RATE), RATE) == pytest.approx(LEVEL, rel=1e-3)


def test_a_whisper_has_no_voice_but_sounds_alike() -> None:
    clip = spoken("no", 1)[0]
    whisper = gating.whispered(clip, RATE, np.random.default_rng(0))
    assert whisper.shape == clip.shape
    assert rms(whisper) == pytest.approx(rms(clip), rel=1e-3)
    assert periodicity(whisper) < 0.6 * periodicity(clip)
    loudness = [np.log(np.convolve(x**2, np.ones(400), "same")[::400] + 1e-8) for x in (clip, whisper)]
    assert np.corrcoef(loudness)[0, 1] > 0.9


def test_both_models_hear_the_same_scene() -> None:
    said = ("yes", "no", "down", "right", "go", "zero", "five", "one")
    words = [(word, levelled(clip, RATE)) for word in said for clip in spoken(word, 2)]
    gated = Spotter.load("commands-dynamic")
    row = gating.compare(gated, gating.without_gate(gated), scene(words, RATE, pause=4.0))
    assert row["words"] == len(words)
    assert 0 < row["open"] < 0.7
    assert row["ungated"]["found"] >= 0.8 * len(words)
    assert row["gated"]["found"] >= row["ungated"]["found"] - 1
    assert row["cpu_saved"] == pytest.approx(
        1 - row["gated"]["percent_of_a_core"] / row["ungated"]["percent_of_a_core"], abs=0.01
    )


def test_the_recipe_writes_what_it_measures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main = runpy.run_path(str(RECIPE))["main"]
    for word in ("no", "zero"):
        folder = tmp_path / "data" / word
        folder.mkdir(parents=True)
        for i, clip in enumerate(spoken(word, 2)):
            soundfile.write(folder / f"{i}{i}_nohash_0.wav", clip[:RATE], RATE)
    names = [f"{path.parent.name}/{path.name}\n" for path in (tmp_path / "data").rglob("*.wav")]
    (tmp_path / "data" / "validation_list.txt").write_text("".join(names))
    (tmp_path / "data" / "testing_list.txt").write_text("")
    speech, noise = tmp_path / "speech", tmp_path / "noise"
    for folder in (speech, noise):
        folder.mkdir()
        soundfile.write(folder / "a.wav", np.random.default_rng(0).normal(0, 0.1, 2 * RATE), RATE)
    output = tmp_path / "out" / "gate.json"
    output.parent.mkdir()
    args = [
        "--data-dir",
        str(tmp_path / "data"),
        "--speech",
        str(speech),
        "--noise",
        str(noise),
        "--output",
        str(output),
    ]
    assert main([*args, "--words", "4"]) == 0
    figures = json.loads(output.read_text())
    assert list(figures["scenes"]) == [
        *("silence", "home", "talk", "commands", "whispered", "noise at 0 dB", "30 dB quieter"),
    ]
    assert figures["scenes"]["commands"]["words"] == 4
    assert figures["scenes"]["silence"]["open"] < 0.1
    assert "commands: open" in capsys.readouterr().out
    assert not (output.parent / "SHA256SUMS").exists()  # it is no model's folder
    assert main([*args[:-1], str(tmp_path / "none" / "gate.json")]) == 1
    assert "no folder" in capsys.readouterr().err
    assert main([*args, "--model", "nothing"]) == 1
    assert "unknown model" in capsys.readouterr().err
