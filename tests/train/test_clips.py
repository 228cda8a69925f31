"""Networks that label clips: they learn, and resume to the bit."""

# ruff: noqa: E402
from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from lcspeech.train.clips import CROPS, ClipNetwork, ClipTrainer
from lcspeech.train.frontends import pplcnet
from lcspeech.train.run import CHECKPOINT
from tests.train.test_loop import (
    CORPUS,
    FEATURES,
    FLOOR,
    PLAIN,
    SETTINGS,
    WORDS,
    assert_same,
    folder_of,
    killer,
    log_of,
)


def make_trainer(folder: Path, bidirectional: bool = True, **changes: Any) -> ClipTrainer:
    settings = dataclasses.replace(SETTINGS, **changes)
    return ClipTrainer(CORPUS, settings, FEATURES, folder, lambda: pplcnet(settings.scale, 40), bidirectional)


def test_it_learns(tmp_path: Path) -> None:
    plain = PLAIN | {"batch": 8, "silence_share": 0.1}
    trainer = make_trainer(tmp_path, epochs=3, steps_per_epoch=10, hidden=16, learning_rate=0.01, **plain)
    trainer.run()
    log = log_of(tmp_path)
    assert [line.keys() for line in log] == [{"epoch", "pooled", "accuracy", "picture_accuracy"}] * 3
    assert log[-1]["pooled"] < 0.5 * log[0]["pooled"]


def test_a_resumed_run_is_the_same_to_the_bit(tmp_path: Path) -> None:
    whole, killed = folder_of(tmp_path, "whole"), folder_of(tmp_path, "killed")
    make_trainer(whole).run()
    with pytest.raises(KeyboardInterrupt):
        make_trainer(killed).run(killer(5))
    resumed = make_trainer(killed)
    resumed.resume()
    resumed.run()
    assert_same(*(torch.load(folder / CHECKPOINT, weights_only=True) for folder in (whole, killed)))


def test_it_hears_the_future_and_the_past() -> None:
    network = ClipNetwork(pplcnet(0.25, 40), 8, 0.0, 40, 3).eval()
    x = torch.randn(1, 120, 40, requires_grad=True)
    network(x)[0, 0].backward()
    assert x.grad is not None
    assert (x.grad.abs().amax((0, 2)) > 0).all()


def test_posteriors_are_the_mean_over_crops(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path)
    clips = CORPUS.validation[0]
    network, total = trainer.averaged(), torch.zeros(len(clips), len(WORDS) + 1)
    for before in np.linspace(0, SETTINGS.segment_frames - 98, CROPS, dtype=int):
        x = torch.full((len(clips), SETTINGS.segment_frames, 40), FLOOR)
        x[:, before : before + 98] = torch.from_numpy(clips.log_mel).float()
        with torch.no_grad():
            total += network(x).softmax(1)
    torch.testing.assert_close(trainer.posteriors(clips), total / CROPS)
