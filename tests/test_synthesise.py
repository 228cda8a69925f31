"""The recipe that has flite's voices say words."""

from __future__ import annotations

import os
import runpy
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from lcspeech.evaluation.datasets import find_utterances
from lcspeech.pronunciation import pronunciations

RECIPE = Path(__file__).parents[1] / "recipes" / "synthesise.py"


def run(folder: Path, *flags: str) -> int:
    status: int = runpy.run_path(str(RECIPE))["main"](["--output", str(folder), "--utterances", "2", *flags])
    return status


@pytest.mark.skipif(
    shutil.which("flite") is None and "CI" not in os.environ,
    reason="flite is not installed (Debian: apt install flite)",
)
def test_voices_say_words_of_the_dictionary(tmp_path: Path) -> None:
    assert run(tmp_path / "speech") == 0
    found = find_utterances(tmp_path / "speech")
    assert {speaker for _, _, speaker in found} == {"awb", "kal16", "rms", "slt"}
    assert len(found) == 8
    for path, words, _ in found:
        samples, rate = soundfile.read(path)
        assert rate == 16_000
        assert 4 <= len(words) <= 12
        phonemes = sum(len(pronunciations(word)[0]) for word in words)
        assert 0.04 < len(samples) / rate / phonemes < 0.25  # seconds: nothing is left unsaid
        assert np.sqrt(np.mean(samples**2)) > 0.01
    unwanted = [word for _, words, _ in found for word in words]
    assert run(tmp_path / "again") == 0
    assert run(tmp_path / "without", "--without", *(word.title() for word in unwanted)) == 0
    again, without = find_utterances(tmp_path / "again"), find_utterances(tmp_path / "without")
    assert [words for _, words, _ in again] == [words for _, words, _ in found]
    assert [path.read_bytes() for path, _, _ in again] == [path.read_bytes() for path, _, _ in found]
    assert not {word for _, words, _ in without for word in words} & set(unwanted)


@pytest.mark.parametrize("wrong", [("--utterances", "0"), ("--seed", "-1")])
def test_what_is_no_number_is_refused(tmp_path: Path, wrong: tuple[str, str]) -> None:
    with pytest.raises(SystemExit):
        run(tmp_path / "speech", *wrong)
    assert list(tmp_path.iterdir()) == []


def test_without_flite_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert run(tmp_path / "speech") == 1
    assert capsys.readouterr().err == "synthesise: error: no flite; install it (Debian: apt install flite)\n"
    assert not (tmp_path / "speech").exists()


def test_a_folder_that_is_there_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run(tmp_path)
    assert "exists already; name a folder to make" in capsys.readouterr().err
