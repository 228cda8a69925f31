"""Checkpoint to model folder: complete, verified, described by what was measured; or the old one stays."""

# ruff: noqa: E402
from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

torch = pytest.importorskip("torch")

from lcspeech import ModelError, Spotter, UsageError, pretrained
from lcspeech.card import GateSettings
from lcspeech.evaluation.protocols import Recording, Validation
from lcspeech.train import install as module
from lcspeech.train.install import describe, export_checkpoint, install
from tests.train.test_loop import SETTINGS, make_trainer
from tests.words import RATE, spoken

TRAINED = Path(__file__).parents[2] / "pretrained" / "commands-tiny.pt"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    trainer = make_trainer(folder, epochs=1, steps_per_epoch=1)
    trainer.run()
    return folder / "checkpoint.pt"


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Validation:
    folder, random = tmp_path_factory.mktemp("sounds"), np.random.default_rng(0)

    def record(name: str, words: str, seconds: float) -> Recording:
        path = folder / f"{name}.wav"
        soundfile.write(path, random.normal(0, 0.05, round(seconds * RATE)), RATE)
        return Recording(path, tuple(words.split()))

    return Validation(
        clips=tuple(record(f"clip{i}", word, 1.0) for i, word in enumerate(["yes", "no", "yes"])),
        speech=(record("talk", "nothing of the sort", 4.0), record("reply", "oh yes", 2.0)),
        noise=(record("hiss", "", 2.0),),
    )


def run_install(checkpoint: Path, folder: Path, recordings: Validation) -> dict[str, Any]:
    return install(
        checkpoint,
        folder,
        dataclasses.replace(SETTINGS, enough_clips=2),
        {"yes": {"recordings": 6, "pictures": 2}, "no": {"recordings": 1, "pictures": 30}},
        recordings,
        "python recipes/train_kws.py --made-up",
    )


def test_an_exported_checkpoint_is_a_model(checkpoint: Path, tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "model"
    assert export_checkpoint(checkpoint, folder) <= 1e-4
    assert {path.name for path in folder.iterdir()} == {"model.onnx", "card.json", "SHA256SUMS"}
    spotter = Spotter.load(folder)
    assert spotter.card == pretrained.read_folder(folder).card
    assert [keyword.name for keyword in spotter.keywords] == ["yes"]
    assert spotter.card.search.slope == 1.0  # not calibrated
    content = bytearray((folder / "model.onnx").read_bytes())
    content[500] ^= 1
    (folder / "model.onnx").write_bytes(content)
    with pytest.raises(ModelError, match="damaged"):
        Spotter.load(folder)


def test_floats_are_had_with_the_calibration_of_what_is_installed(
    checkpoint: Path, recordings: Validation, tmp_path: Path
) -> None:
    run_install(checkpoint, tmp_path / "tiny", recordings)
    rounded = Spotter.load(tmp_path / "tiny")
    export_checkpoint(checkpoint, tmp_path / "float", calibrated=rounded.card)
    exact = Spotter.load(tmp_path / "float")
    assert exact.card == rounded.card
    small, large = ((tmp_path / name / "model.onnx").stat().st_size for name in ("tiny", "float"))
    assert small < 0.5 * large
    with pytest.raises(UsageError, match="the model that was made from it"):
        export_checkpoint(checkpoint, tmp_path / "other", calibrated=Spotter.load().card)


def test_an_exported_model_hears_all_louder(tmp_path: Path) -> None:
    content = torch.load(TRAINED, weights_only=True)
    for louder_db in (0.0, 12.0):
        content["settings"]["louder_db"] = louder_db
        torch.save(content, tmp_path / "checkpoint.pt")
        export_checkpoint(tmp_path / "checkpoint.pt", tmp_path / f"{louder_db:g}")
    plain, louder = (Spotter.load(tmp_path / name) for name in ("0", "12"))
    assert louder.card.features.floor == pytest.approx(plain.card.features.floor / 10**1.2)
    clip = spoken("no")[0] / np.float32(10)
    heard, as_it_is = (spotter.log_probs(clip, sample_rate=RATE) for spotter in (louder, plain))
    amplified = plain.log_probs(clip * np.float32(10**0.6), sample_rate=RATE)
    np.testing.assert_allclose(heard, amplified, atol=2e-3)
    assert np.abs(heard - as_it_is).max() > 0.5


def test_a_network_is_not_like_one_behind_a_gate(checkpoint: Path, tmp_path: Path) -> None:
    export_checkpoint(checkpoint, tmp_path / "model")
    card = Spotter.load(tmp_path / "model").card
    behind = dataclasses.replace(card, gate=GateSettings(hidden=8), hidden=0)
    with pytest.raises(UsageError, match="the model that was made from it"):
        export_checkpoint(checkpoint, tmp_path / "other", calibrated=behind)


def test_an_export_keeps_no_figures_of_another_model(checkpoint: Path, recordings: Validation, tmp_path: Path) -> None:
    run_install(checkpoint, tmp_path / "model", recordings)
    export_checkpoint(checkpoint, tmp_path / "model")
    assert {path.name for path in (tmp_path / "model").iterdir()} == {"model.onnx", "card.json", "SHA256SUMS"}
    (tmp_path / "recordings").mkdir()
    (tmp_path / "recordings" / "a.wav").touch()
    with pytest.raises(UsageError, match="is no model's folder"):
        export_checkpoint(checkpoint, tmp_path / "recordings")


def test_an_installed_model_is_complete(checkpoint: Path, recordings: Validation, tmp_path: Path) -> None:
    folder = tmp_path / "tiny"
    folder.mkdir()
    for name in ("card.json", "of-the-old-model"):
        (folder / name).write_text("")
    metrics = run_install(checkpoint, folder, recordings)
    assert list(tmp_path.iterdir()) == [folder]
    assert {p.name for p in folder.iterdir()} == {"model.onnx", "card.json", "metrics.json", "README.md", "SHA256SUMS"}
    assert json.loads((folder / "metrics.json").read_text()) == json.loads(json.dumps(metrics))
    assert metrics["command"] == "python recipes/train_kws.py --made-up"
    assert metrics["clips"]["total"] == 2  # "no" has too few recordings
    assert set(metrics["clips"]["words"]) == {"yes", "no"}
    assert metrics["false_alarms"]["hours"] == pytest.approx((4 + 0.5) / 3600)
    spotter = Spotter.load(folder)
    assert spotter.card == pretrained.read_folder(folder).card
    assert (folder / "README.md").read_text() == describe(spotter.card, metrics)
    assert "recordings and pictures: yes 6, 2; no 1, 30." in (folder / "README.md").read_text()


def test_the_calibration_goes_into_the_card_in_the_file(
    checkpoint: Path, recordings: Validation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = dataclasses.replace(Spotter.load().card.search, slope=0.5, offset=-1.25, unknown_bias=-3.0)
    monkeypatch.setattr(module, "calibrate", lambda *_: (chosen, 0.625))
    run_install(checkpoint, tmp_path / "tiny", recordings)
    card = Spotter.load(tmp_path / "tiny").card
    assert card.search == chosen
    assert [word.threshold for word in card.keywords] == [0.625]


@pytest.mark.parametrize("step", ["export", "calibrate", "measure", "describe"])
def test_a_failure_leaves_the_old_model(
    step: str,
    checkpoint: Path,
    recordings: Validation,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = tmp_path / "tiny"
    folder.mkdir()
    (folder / "card.json").write_text("old")

    def fail(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, step, fail)
    with pytest.raises(OSError, match="No space left"):
        run_install(checkpoint, folder, recordings)
    assert [path.name for path in tmp_path.rglob("*")] == ["tiny", "card.json"]
    assert (folder / "card.json").read_text() == "old"


def test_the_description_says_what_was_measured() -> None:
    card = Spotter.load().card
    metrics = {
        "date": "2026-01-02",
        "command": "python train.py",
        "machine": "abacus",
        "clips": {"accuracy": 0.9512, "interval": [0.9, 0.97], "total": 123, "what": "clips of words"},
        "stream_recall": {"accuracy": 0.5, "interval": [0.25, 0.75], "total": 10, "what": "in a stream"},
        "false_alarms": {"per_hour": 1.25, "interval": [0.5, 3.0], "hours": 2.4, "what": "on talk"},
        "trained": {"on": {"recordings": 11, "pictures": 3000}},
    }
    lines = describe(card, metrics).splitlines()
    assert lines[0] == f"# {card.name}"
    assert "Written by the evaluation into `metrics.json` on 2026-01-02 (abacus) by" in lines
    assert "`python train.py`; 95 % intervals." in lines
    assert "| Clips labelled rightly, streamed | 95.12 % | 90.00 to 97.00 | 123 clips: clips of words |" in lines
    assert "| Keywords found in a stream | 50.00 % | 25.00 to 75.00 | 10 clips: in a stream |" in lines
    assert "| False alarms per hour | 1.25  | 0.50 to 3.00 | 2.40 h: on talk |" in lines
    assert "Training clips of each word, recordings and pictures: on 11, 3000." in lines
    for source in card.data:
        assert f"- {source.name}: {source.amount}; {source.licence}; <{source.source}>" in lines
