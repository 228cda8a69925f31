"""The recipe that measures typed and recorded words, on a word that the model knows."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import numpy as np
import pytest
import soundfile

from lcspeech import enrollment
from tests.learning import learn_briefly
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
    assert main([*arguments, "--trials", "2", "--quick"]) == 0
    rows = capsys.readouterr().out.splitlines()
    assert [row.split(":")[0] for row in rows] == [
        f"{kind}{how}" for kind in ("typed", "pronounced 1", "pronounced 2") for how in ("", ", best threshold")
    ]
    for row in rows:
        found = re.search(r"found ([\d.]+) % of 3, .*hour: 0.00 in speech, .* in speech and noise$", row)
        assert found is not None, row
        assert float(found[1]) > 60


def test_what_is_learned_from_clips_and_voices_is_measured(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    learn_briefly(monkeypatch, tmp_path)
    monkeypatch.setattr(enrollment, "say", lambda *_: variants(spoken("zero")[1], 3))
    main = runpy.run_path(str(RECIPE))["main"]
    assert main([*arguments, "--trials", "1", "--voices"]) == 0
    rows = capsys.readouterr().out.splitlines()
    kinds = ("typed", "voices", "pronounced 1", "recorded 1", "both 1")
    assert [row.split(":")[0] for row in rows] == [f"{kind}{how}" for kind in kinds for how in ("", ", best threshold")]
    assert all("found 100.0 % of 3" in row for row in rows if row.startswith(("recorded", "both")))


def test_what_cannot_be_read_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main = runpy.run_path(str(RECIPE))["main"]
    nowhere = str(tmp_path)
    assert main(["--clips", nowhere, "--speech", nowhere, "--noise", nowhere]) == 1
    assert capsys.readouterr().err.startswith("measure_enrollment: error: no audio in ")
