"""The recipe that measures typed and recorded words, on a word that the model knows."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.words import RATE, spoken, variants

RECIPE = Path(__file__).parents[1] / "recipes" / "measure_enrollment.py"


@pytest.fixture
def arguments(tmp_path: Path) -> list[str]:
    """Recordings of a word, speech and noise, in folders of their own."""
    rest = np.zeros(RATE // 2, np.float32)
    sounds = {
        "zero": [np.concatenate([rest, clip, rest]) for clip in variants(spoken("zero")[0], 8)],
        "speech": spoken("yes"),
        "noise": [np.random.default_rng(0).normal(0, 0.01, RATE).astype(np.float32)],
    }
    for folder, clips in sounds.items():
        (tmp_path / folder).mkdir()
        for i, clip in enumerate(clips):
            soundfile.write(tmp_path / folder / f"{i}.wav", clip, RATE)
    folders = (("--clips", "zero"), ("--speech", "speech"), ("--noise", "noise"))
    paths = [text for flag, folder in folders for text in (flag, str(tmp_path / folder))]
    return [*paths, "--most", "3", "--snr-db", "30"]


def test_found_and_false_alarms_are_counted(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    main = runpy.run_path(str(RECIPE))["main"]
    assert main([*arguments, "--trials", "2"]) == 0
    rows = capsys.readouterr().out.splitlines()
    assert [row.split(":")[0] for row in rows] == [
        f"{kind}{how}" for kind in ("typed", "recorded 1", "recorded 2") for how in ("", ", best threshold")
    ]
    for row in rows:
        found = re.search(r"found ([\d.]+) % of 3, .*hour: 0.00 in speech, .* in speech and noise$", row)
        assert found is not None, row
        assert float(found[1]) > 60


def test_models_are_trained_on_voices_and_on_the_same_recordings_and_measured(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module = pytest.importorskip("lcspeech.train.adapt")
    monkeypatch.setattr(module, "_STEPS", 2)
    main = runpy.run_path(str(RECIPE))["main"]
    assert main([*arguments, "--trials", "1", "--adapt"]) == 0
    rows = [row for row in capsys.readouterr().out.splitlines() if row.startswith("adapted")]
    kinds = ("adapted, typed", "adapted, recorded 1", "adapted, both 1")
    assert [row.split(":")[0] for row in rows] == [f"{kind}{how}" for kind in kinds for how in ("", ", best threshold")]
    assert all("found 100.0 % of 3" in row for row in rows)


def test_what_cannot_be_read_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main = runpy.run_path(str(RECIPE))["main"]
    nowhere = str(tmp_path)
    assert main(["--clips", nowhere, "--speech", nowhere, "--noise", nowhere]) == 1
    assert capsys.readouterr().err.startswith("measure_enrollment: error: no audio in ")
