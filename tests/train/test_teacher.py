"""The teacher: it learns, resumes to the bit, and its posteriors come back for the clips that they are of."""

# ruff: noqa: E402
from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from lcspeech.errors import UsageError
from lcspeech.train.loop import Trainer
from lcspeech.train.losses import sequence_log_probs
from lcspeech.train.settings import load_settings
from lcspeech.train.teacher import TeacherTrainer, posteriors_of, read_posteriors, spotter_posteriors
from tests.train.test_loop import (
    CORPUS,
    FEATURES,
    SETTINGS,
)

RECIPES = Path(__file__).parents[2] / "recipes"


def make_trainer(folder: Path, **changes: Any) -> TeacherTrainer:
    return TeacherTrainer(CORPUS, dataclasses.replace(SETTINGS, **changes), FEATURES, folder)


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


def test_a_spotter_teaches_what_it_thinks(tmp_path: Path) -> None:
    trainer = Trainer(CORPUS, SETTINGS, FEATURES, tmp_path)
    trainer.run()
    clips, checkpoint = sum(map(len, CORPUS.clips)), tmp_path / "checkpoint.pt"
    posteriors = spotter_posteriors(checkpoint, CORPUS, FEATURES)
    assert posteriors.shape == (clips, len(CORPUS.words) + 1)
    torch.testing.assert_close(posteriors.sum(1), torch.ones(clips))
    # Of the first clip, as the spotter itself scores it where its frames fall so
    x = torch.from_numpy(CORPUS.clips[0].log_mel[:1]).float()
    network, each = trainer.averaged(best=True), []
    for before in (32, 34):
        padded = torch.nn.functional.pad(x, (0, 0, before, 32), value=trainer.batches.floor)[:, :160]
        log_probs, _ = network(padded, network.initial_state(1))
        each.append(sequence_log_probs(log_probs, trainer.lattice).float().softmax(1))
    torch.testing.assert_close(posteriors[:1], torch.stack(each).mean(0))


def test_teachers_are_averaged(tmp_path: Path) -> None:
    large, path = make_trainer(tmp_path / "large"), tmp_path / "posteriors.npz"
    large.write_posteriors(path)
    Trainer(CORPUS, SETTINGS, FEATURES, tmp_path).run()
    checkpoint = tmp_path / "checkpoint.pt"
    expected = (read_posteriors(path, CORPUS) + spotter_posteriors(checkpoint, CORPUS, FEATURES)) / 2
    torch.testing.assert_close(posteriors_of([path, checkpoint], CORPUS, FEATURES), expected)
    with pytest.raises(UsageError, match=r"cannot read the checkpoint '.*nowhere.pt'"):
        posteriors_of([path, tmp_path / "nowhere.pt"], CORPUS, FEATURES)


def test_its_settings_load() -> None:
    settings = load_settings(RECIPES / "train_kws.toml", RECIPES / "train_teacher.toml")
    assert settings.name == "teacher"
    assert settings.talk_share == 0
