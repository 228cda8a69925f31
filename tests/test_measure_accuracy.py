"""The recipe that measures models by the published protocols, on the words of the bundled recording."""

from __future__ import annotations

import json
import runpy
import shutil
from pathlib import Path

import pytest

from lcspeech import pretrained
from tests.evaluation.corpus import noise, speech_commands

pytest.importorskip("torch")

RECIPE = Path(__file__).parents[1] / "recipes" / "measure_accuracy.py"
MODEL = "commands-tiny"


def test_clips_and_streams_are_written_beside_the_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(pretrained.shipped() / MODEL, tmp_path / "models" / MODEL)
    monkeypatch.setattr(pretrained, "shipped", lambda: tmp_path / "models")
    data = speech_commands(tmp_path / "data")
    noise(tmp_path / "speech" / "murmur.wav", 4.0)
    folders = ["--data-dir", data, "--speech", tmp_path / "speech", "--noise", data / "_background_noise_"]
    main = runpy.run_path(str(RECIPE))["main"]
    assert main([*map(str, folders), "--hours", "0.01", "--workers", "1"]) == 0
    assert capsys.readouterr().out.startswith(f"{MODEL}: {{'v2-12': '")
    figures = json.loads((tmp_path / "models" / MODEL / "accuracy.json").read_text())
    assert figures["v2-12"]["accuracy"] > 0.5
    assert figures["v2-35"]["clips"] == len((data / "validation_list.txt").read_text().split())
    assert set(figures["stream"]["all"]["at"]) == {"0.1", "0.5", "1.0", "4.0"}
    assert figures["stream"]["keywords"]["yes"].keys() == {"clips", "at"}
    assert figures["stream"]["speech_hours"] == pytest.approx(4 / 3600, abs=1e-3)
    fainter = figures["fainter"]
    assert fainter["words"] >= fainter["0"]["found"] >= fainter["30"]["found"]
    assert fainter["0"]["found"] > 0.5 * fainter["words"]
    assert "accuracy.json" in (tmp_path / "models" / MODEL / "SHA256SUMS").read_text()


def test_what_does_not_exist_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main = runpy.run_path(str(RECIPE))["main"]
    nowhere = str(tmp_path)
    assert main(["--data-dir", nowhere, "--speech", nowhere, "--noise", nowhere]) == 1
    assert capsys.readouterr().err.startswith("measure_accuracy: error: no word folders in ")
