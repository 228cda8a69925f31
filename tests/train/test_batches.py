"""What training draws: rows of clips with their words, silence, talk, and utterances."""

# ruff: noqa: E402
from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from lcspeech.train.batches import Batches
from lcspeech.train.data import Clips, Corpus
from tests.train.test_loop import CORPUS, FEATURES, FLOOR, PLAIN, SETTINGS, WORDS, make_utterance


def make_batches(corpus: Corpus = CORPUS, **changes: Any) -> Batches:
    return Batches(corpus, dataclasses.replace(SETTINGS, **changes), FEATURES, torch.Generator().manual_seed(3))


def draw(batches: Batches) -> tuple[torch.Tensor, torch.Tensor]:
    segments = batches.segments()
    return segments.log_mel, segments.targets


def test_clips_come_with_their_words() -> None:
    x, targets = draw(make_batches(**PLAIN))
    assert x.shape == (64, SETTINGS.segment_frames, 40)
    assert x.dtype == torch.float32
    low, high = x[:, :, :15].amax((1, 2)), x[:, :, 20:35].amax((1, 2))
    assert torch.equal(targets, (high > low).long())
    assert set(targets.tolist()) == {0, 1}


def test_batches_repeat_by_their_seed() -> None:
    (a, b), (c, d) = draw(make_batches()), draw(make_batches())
    assert torch.equal(a, c)
    assert torch.equal(b, d)


def test_rows_of_silence() -> None:
    x, targets = draw(make_batches(**PLAIN | {"silence_share": 1.0}))
    assert targets.unique().tolist() == [len(WORDS)]
    assert x.max() < FLOOR + 1.5
    _, targets = draw(make_batches(**PLAIN | {"silence_share": 0.25, "batch": 2_000}))
    assert (targets == len(WORDS)).float().mean().item() == pytest.approx(0.25, abs=0.04)


def test_without_pictures_only_recordings_are_drawn() -> None:
    marked = dataclasses.replace(CORPUS.clips[1], log_mel=np.full_like(CORPUS.clips[1].log_mel, 3.0))
    corpus = dataclasses.replace(CORPUS, clips=(CORPUS.clips[0], marked))
    without, _ = draw(make_batches(corpus, **PLAIN | {"picture_share": 0.0}))
    both, _ = draw(make_batches(corpus, **PLAIN | {"picture_share": 1.0}))
    assert (without.median(1).values.median(1).values < 2.9).all()
    pictures = (both.median(1).values.median(1).values > 2.9).float().mean().item()
    assert pictures == pytest.approx(1 / 3, abs=0.2)


def test_words_are_drawn_between_evenly_and_by_number() -> None:
    words = np.array([0] * 90 + [1] * 10)
    clips = Clips(np.zeros((100, 98, 40), np.float16), words, ("",) * 100)
    weights = make_batches(dataclasses.replace(CORPUS, clips=(clips,))).weights
    assert (weights[:90].sum() / weights[90:].sum()).item() == pytest.approx(3.0)  # of nine times as many clips


def test_rows_of_talk_know_what_is_not_said_in_them() -> None:
    batches = make_batches(**PLAIN | {"talk_share": 0.5, "batch": 400, "silence_share": 0.0})
    segments = batches.segments()
    assert segments.talk.float().mean().item() == pytest.approx(0.5, abs=0.08)
    middle = segments.log_mel[:, :, 12:18].mean((1, 2)) > -4  # both the low word and talk are loud there
    edge = segments.log_mel[:, :, :8].mean((1, 2)) < -7  # only talk and the high word are not here
    assert (middle & edge)[segments.talk].all()
    assert not (middle & edge)[~segments.talk].any()
    # "he said no" holds "no", "dogs and cats" neither; a piece that spans both counts as both
    assert {tuple(row) for row in segments.absent[segments.talk].tolist()} == {(False, True), (True, True)}


def test_words_that_sound_alike_are_not_absent() -> None:
    utterances = (make_utterance("i know", 150, 1), make_utterance("oh dear", 150, 2))
    batches = make_batches(dataclasses.replace(CORPUS, utterances=utterances))
    assert batches.absent.tolist() == [[False, True], [True, True]]


def test_without_utterances_there_is_no_talk() -> None:
    segments = make_batches(dataclasses.replace(CORPUS, utterances=()), **PLAIN | {"talk_share": 0.9}).segments()
    assert not segments.talk.any()


def test_maps_are_of_few_lengths_on_a_gpu() -> None:
    batches = make_batches()
    assert [batches.padded(frames) for frames in (1, 400, 401.5)] == [4, 400, 404]
    batches.device = torch.device("cuda")
    assert [batches.padded(frames) for frames in (1, 400, 401.5)] == [400, 400, 800]


def test_utterances_are_padded_with_silence() -> None:
    x, utterances, absent = make_batches(**PLAIN | {"utterance_batch": 2}).utterance_batch()
    longest = max(len(u.log_mel) for u in utterances)
    assert x.shape[0] == len(utterances) == len(absent) == 2
    assert x.shape[1] % 4 == 0
    assert longest <= x.shape[1] < longest + 4
    for row, utterance, lacks in zip(x, utterances, absent.tolist(), strict=True):
        assert lacks == [word not in utterance.words for word in WORDS]
        assert (row[len(utterance.log_mel) :] < FLOOR + 1.5).all()
        torch.testing.assert_close(
            row[: len(utterance.log_mel)], torch.from_numpy(utterance.log_mel).float(), atol=0.2, rtol=0
        )


def test_synthetic_speech_has_its_share_of_the_batches() -> None:
    corpus = dataclasses.replace(CORPUS, synthetic=(make_utterance("yes", 120, 5), make_utterance("no", 130, 6)))
    changes = PLAIN | {"utterance_batch": 1, "batch": 1}
    for share, drawn in ((0.0, 0), (0.25, 100), (1.0, 400)):
        batches = make_batches(corpus, **changes | {"synthetic_share": share})
        said = [batches.utterance_batch()[1][0] for _ in range(400)]
        synthetic = sum(any(u is known for known in corpus.synthetic) for u in said)
        assert synthetic == pytest.approx(drawn, abs=0 if share in (0, 1) else 35)
    (only,) = make_batches(**changes | {"synthetic_share": 1.0}).utterance_batch()[1]
    assert any(only is utterance for utterance in CORPUS.utterances)


def test_each_row_knows_its_clip() -> None:
    segments = make_batches(**PLAIN | {"silence_share": 0.3}).segments()
    words = torch.from_numpy(np.concatenate([clips.words for clips in CORPUS.clips]))
    silent = segments.targets == len(WORDS)
    assert silent.any()
    assert (segments.clips[silent] == len(words)).all()
    assert torch.equal(words[segments.clips[~silent]], segments.targets[~silent])


def test_talk_with_false_alarms_comes_again() -> None:
    def share_of_the_first_piece(hard_share: float) -> float:
        batches = make_batches(**PLAIN | {"talk_share": 0.9, "batch": 400, "hard_share": hard_share})
        batches.remember(torch.tensor([0, 130]), torch.tensor([3.0, 0.0]))
        assert batches.hardness.tolist() == [3.0, 0.0]
        segments = batches.segments()
        assert len(segments.places) == segments.talk.sum()
        assert segments.places.min() >= 0
        return float((segments.places <= SETTINGS.segment_frames // 4).float().mean())

    assert share_of_the_first_piece(0.0) < 0.3  # of 223 places 30
    assert share_of_the_first_piece(1.0) == 1.0


def test_talk_is_drawn_anywhere_before_a_false_alarm_is_known() -> None:
    batches = make_batches(**PLAIN | {"talk_share": 0.9, "batch": 200, "hard_share": 1.0})
    assert not batches.hardness.any()
    assert len(batches.segments().places.unique()) > 50


def test_noise_is_other_in_each_row_and_as_loud_as_asked() -> None:
    batches, quiet = make_batches(), torch.zeros(3, 120, 40)
    noisy = batches.in_noise(quiet, 10.0, torch.Generator().manual_seed(1))
    assert torch.equal(noisy, batches.in_noise(quiet, 10.0, torch.Generator().manual_seed(1)))
    assert not torch.equal(noisy[0], noisy[1])
    added = (noisy.exp() - 1).sum((1, 2)) / 120  # power a frame, where that of the rows is 40
    assert (10 * torch.log10(40 / added)).tolist() == pytest.approx([10.0] * 3, abs=0.1)
