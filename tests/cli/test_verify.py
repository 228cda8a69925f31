"""`lcspeech verify`."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lcspeech import Event, Spotter, pretrained
from lcspeech.cli import main, verify
from tests.cli.conftest import MODEL, RATE, Recording


def test_the_shipped_model_streams_as_it_does_offline(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("its SHA-256 is the one in SHA256SUMS")
    differences = [float(line.rpartition(" ")[2]) for line in lines[1:-1]]
    assert len(differences) == len(verify.BLOCKS)
    assert max(differences) < 1e-4
    assert lines[-1] == f"largest difference {max(differences):.1e}, 1e-04 allowed: good"


def test_a_file_in_the_way_is_not_what_was_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "model.onnx").write_bytes(b"another")
    monkeypatch.chdir(tmp_path)
    assert main(["verify"]) == 0
    assert "its SHA-256 is the one" in capsys.readouterr().out


def test_the_generated_signal_is_always_the_same() -> None:
    first, second = verify._samples(RATE, None), verify._samples(RATE, None)
    assert first.dtype == np.float32
    assert len(first) == 3 * RATE
    assert 0.2 < np.abs(first).max() < 1.0
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("difference", [2e-4, float("nan"), float("inf")])
def test_too_large_a_difference_fails(
    difference: float, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        verify, "largest_difference", lambda _spotter, _samples, block: difference if block == 160 else 1e-6
    )
    assert main(["verify"]) == 1
    output = capsys.readouterr()
    assert re.search(r"largest difference (2.0e-04|nan|inf), 1e-04 allowed: NOT GOOD", output.out)
    assert output.err.startswith("lcspeech: error: streaming differs from offline")


def test_other_events_fail(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(verify, "same_events", lambda _spotter, _samples, block: block != 160)
    assert main(["verify"]) == 1
    assert re.search(r"blocks of   160 samples, .*, and other events\n", capsys.readouterr().out)


@pytest.mark.parametrize("change", [{"keyword": "other"}, {"start": 0.5}, {"end": 0.5}, {"score": 0.5}, None])
def test_events_are_compared_one_by_one(
    spotter: Spotter, recording: Recording, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any] | None
) -> None:
    samples, spot = recording.samples, Spotter.spot
    assert len(spotter.replace(threshold=verify.FAINT).spot(samples, sample_rate=RATE)) > 3
    assert verify.same_events(spotter, samples, 700)

    def changed(*given: Any, **options: Any) -> list[Event]:
        *events, last = spot(*given, **options)
        return events if change is None else [*events, replace(last, **change)]

    monkeypatch.setattr(Spotter, "spot", changed)
    assert not verify.same_events(spotter, samples, 700)


def test_a_lost_frame_is_an_infinite_difference(spotter: Spotter, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = np.zeros((5, 3), np.float32)

    def log_probs(_spotter: Spotter, _samples: object, *, sample_rate: int, block: int | None = None) -> object:
        assert sample_rate == RATE
        return whole if block is None else whole[1:]

    monkeypatch.setattr(Spotter, "log_probs", log_probs)
    assert verify.largest_difference(spotter, np.zeros(RATE, np.float32), 160) == float("inf")


def test_a_file_alone_is_audio(silence: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(silence)]) == 0
    assert "blocks of    37 samples,    1.0 s" in capsys.readouterr().out


def test_a_model_and_a_file(model_folder: Path, silence: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (model_folder / pretrained.CHECKSUMS).unlink()
    assert main(["verify", str(model_folder), str(silence)]) == 0
    assert "no SHA256SUMS that lists it" in capsys.readouterr().out


def test_what_an_only_argument_is(model_folder: Path, silence: Path) -> None:
    onnx = model_folder / "model.onnx"
    for model in (MODEL, str(model_folder), str(onnx), "neither"):
        assert verify._model_or_file(model) == (model, None)
    assert verify._model_or_file(str(silence)) == (None, str(silence))


def test_an_only_argument_that_is_nothing_is_an_unknown_model(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", "neither"]) == 2
    assert f"unknown model 'neither'; shipped: {MODEL}" in capsys.readouterr().err


def test_a_damaged_model_fails(model_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = model_folder / "model.onnx"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert main(["verify", str(model_folder)]) == 1
    assert "damaged" in capsys.readouterr().err
