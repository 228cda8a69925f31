"""The teacher: it learns, resumes to the bit, and its posteriors come back for the clips that they are of."""

# ruff: noqa: E402
from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from lcspeech.errors import UsageError
from lcspeech.train.run import CHECKPOINT
from lcspeech.train.settings import load_settings
from lcspeech.train.teacher import CROPS, Teacher, TeacherTrainer, read_posteriors
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

RECIPES = Path(__file__).parents[2] / "recipes"


def make_trainer(folder: Path, **changes: Any) -> TeacherTrainer:
    return TeacherTrainer(CORPUS, dataclasses.replace(SETTINGS, **changes), FEATURES, folder)


def test_it_learns(tmp_path: Path) -> None:
    plain = PLAIN | {"batch": 8, "silence_share": 0.1}
    trainer = make_trainer(tmp_path, epochs=3, steps_per_epoch=10, hidden=16, learning_rate=0.01, **plain)
    trainer.run()
    log = log_of(tmp_path)
    assert [line.keys() for line in log] == [{"epoch", "teacher", "accuracy", "picture_accuracy"}] * 3
    assert log[-1]["teacher"] < 0.5 * log[0]["teacher"]


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
    teacher = Teacher(0.25, 8, 0.0, 40, 3).eval()
    x = torch.randn(1, 120, 40, requires_grad=True)
    teacher(x)[0, 0].backward()
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


def test_posteriors_come_back_by_the_clips_names(tmp_path: Path) -> None:
    trainer, path = make_trainer(tmp_path), tmp_path / "posteriors.npz"
    trainer.write_posteriors(path)
    recordings, pictures = (trainer.posteriors(clips) for clips in CORPUS.clips)
    torch.testing.assert_close(read_posteriors(path, CORPUS), torch.cat([recordings, pictures]), atol=1e-3, rtol=0)
    turned = dataclasses.replace(CORPUS, clips=CORPUS.clips[::-1])  # in another order
    torch.testing.assert_close(read_posteriors(path, turned), torch.cat([pictures, recordings]), atol=1e-3, rtol=0)
    fewer = dataclasses.replace(CORPUS, clips=CORPUS.clips[1:])
    torch.testing.assert_close(read_posteriors(path, fewer), pictures, atol=1e-3, rtol=0)


def test_posteriors_of_other_data_are_refused(tmp_path: Path) -> None:
    trainer, path = make_trainer(tmp_path), tmp_path / "posteriors.npz"
    trainer.write_posteriors(path)
    renamed = dataclasses.replace(CORPUS.clips[0], names=("no/new", *CORPUS.clips[0].names[1:]))
    for corpus in (
        dataclasses.replace(CORPUS, words=("no", "oh")),
        dataclasses.replace(CORPUS, clips=(renamed,)),
    ):
        with pytest.raises(UsageError, match=r"are of other clips; make them with train_teacher.py on this data"):
            read_posteriors(path, corpus)


@pytest.mark.parametrize("content", [None, b"", b"no archive", b"PK\x03\x04 broken"])
def test_what_are_no_posteriors_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "posteriors.npz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError, match=r"cannot read the posteriors in '.*; make them with train_teacher.py"):
        read_posteriors(path, CORPUS)


def test_its_settings_load() -> None:
    settings = load_settings(RECIPES / "train_kws.toml", RECIPES / "train_teacher.toml")
    assert settings.name == "teacher"
    assert settings.talk_share == 0
