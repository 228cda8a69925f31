"""The verifier: streams with known words, hits judged by them, a fit that tells them apart, and its place in a file."""

# ruff: noqa: E402
from __future__ import annotations

import dataclasses
import logging
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import Tensor

from lcspeech.encoder import Encoder
from lcspeech.errors import UsageError
from lcspeech.train import verifier as module
from lcspeech.train.batches import Batches
from lcspeech.train.export import export
from lcspeech.train.loop import read_checkpoint
from lcspeech.train.run import CHECKPOINT
from lcspeech.train.verifier import Candidates, Streams, _Item, add_verifier, find_candidates, fit
from tests.train.test_loop import CORPUS, FEATURES, FLOOR, PLAIN, SETTINGS, WORDS, make_trainer

SPAN = slice(12, 86)  # of a clip of 98 frames, nearly all of it, whatever is cut off


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint of a network that knows its two words by their bands."""
    folder = tmp_path_factory.mktemp("trained")
    plain = PLAIN | {"batch": 8}
    make_trainer(folder, epochs=6, steps_per_epoch=20, hidden=16, learning_rate=0.01, norm_epochs=3, **plain).run()
    return folder / CHECKPOINT


def make_batches(**changes: Any) -> Batches:
    return Batches(CORPUS, dataclasses.replace(SETTINGS, **PLAIN | changes), FEATURES, torch.Generator())


def make_streams(seed: int = 0, **changes: Any) -> Streams:
    return Streams(make_batches(**changes), 100, torch.Generator().manual_seed(seed))


def test_what_is_said_lies_where_the_stream_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "QUIET_SHARE", 1.0)
    streams, clips, talk = make_streams(), 0, 0
    for _ in range(5):
        x, items = streams.draw()
        assert x.shape == (6_000, 40)
        silent = torch.ones(6_000, dtype=torch.bool)
        for item in items:
            start, end = round(100 * item.start), round(100 * item.end)
            silent[start:end] = False
            if item.is_clip and end - start == 98:
                clips += 1
                low, high = x[start:end][SPAN, :15].mean(), x[start:end][SPAN, 20:35].mean()
                assert item.absent.tolist() == [bool(high > low), bool(low > high)]
            elif not item.is_clip:
                talk += 1
                assert not item.absent.all() or end - start in (163, 180) or item is items[-1]
        assert torch.allclose(x[silent], torch.tensor(FLOOR), atol=11)
        assert x[~silent].max() > x[silent].max() + 3
    assert clips > 30
    assert talk > 10


def test_streams_repeat_by_their_seed_and_noise_is_as_loud_as_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    (a, _), (b, _), (c, _) = (make_streams(seed).draw() for seed in (1, 1, 2))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)
    monkeypatch.setattr(module, "QUIET_SHARE", 0.0)
    monkeypatch.setattr(module, "SNR_DB", (10.0, 10.0))
    monkeypatch.setattr(module, "GAIN_DB", 0.0)
    streams = make_streams(1)
    x, items = streams.draw()
    power = x.logsumexp(1)
    speech = torch.cat([power[round(100 * i.start) : round(100 * i.end)][SPAN] for i in items if i.is_clip])
    noise = power[: round(100 * items[0].start)]
    assert float(speech.median() - noise.median()) * 10 / np.log(10) == pytest.approx(10.4, abs=1.5)  # and noise


def test_hits_are_judged_by_what_was_said() -> None:
    said, other = torch.tensor([False, True]), torch.tensor([True, True])
    items = [
        _Item(1.0, 2.0, said, True),
        _Item(4.0, 8.0, torch.tensor([True, False]), False),
        _Item(9, 10, other, True),
    ]
    ends = np.array([1.8, 1.5, 1.9, 2.4, 2.6, 5.0, 5.0, 9.5, 20.0])
    which = np.array([0, 0, 1, 0, 0, 0, 1, 1, 0])
    scores = np.array([0.9, 0.3, 0.8, 0.2, 0.9, 0.5, 0.5, 0.5, 0.5])
    true, weights = module._judge(ends, which, scores, items)
    # The loudest is the word, its echoes do not count, another word is wrong, and so is what comes too late; in talk
    # what was said counts nothing, the rest the more
    assert true.tolist() == [True] + [False] * 8
    assert weights.tolist() == [1, 0, 1, 0, 1, module.TALK_WEIGHT, 0, 1, 1]


def test_of_hits_of_one_word_that_are_near_the_first_of_the_likeliest_remains() -> None:
    scores = np.zeros((60, 2))
    scores[10:14, 0] = [0.1, 0.5, 0.5, 0.3]
    scores[15, 1] = 0.2
    scores[30, 0] = 0.4
    scores[50, 0] = 0.0005  # too faint
    frames, which = module._peaks(scores, 10)
    assert list(zip(frames.tolist(), which.tolist(), strict=True)) == [(11, 0), (15, 1), (30, 0)]


def test_a_trained_network_finds_words_and_where_they_are(trained: Path) -> None:
    network, _ = read_checkpoint(trained, FEATURES)
    found = find_candidates(network, make_streams(temperature=1.0), WORDS, 0.5)
    assert 0.1 < found.true.float().mean() < 0.9
    assert found.hidden.shape == (len(found.odds), 16)
    assert set(found.words.tolist()) == {0, 1}
    assert found.odds[found.true].median() > found.odds[~found.true].median() + 1


def make_candidates(count: int = 4_000) -> Candidates:
    """Hits of which the log-odds tell little, and one of the GRU's outputs, another for each word, the rest."""
    generator = torch.Generator().manual_seed(0)
    hidden = 3 + 0.5 * torch.randn(count, 8, generator=generator)
    words = torch.randint(2, (count,), generator=generator)
    odds = torch.randn(count, generator=generator)
    true = (hidden[torch.arange(count), words] - 3) * 4 + odds > 0
    return Candidates(hidden, odds, words, true, torch.ones(count))


def accuracy(candidates: Candidates, evidence: Tensor | float) -> float:
    return float(((candidates.odds + evidence > 0) == candidates.true).float().mean())


def test_a_fit_tells_what_the_search_cannot() -> None:
    candidates = make_candidates()
    verifier = fit(candidates, 2, seed=0)
    with torch.no_grad():
        evidence = verifier(candidates.hidden).gather(1, candidates.words[:, None])[:, 0]
    assert accuracy(candidates, 0.0) < 0.75
    assert accuracy(candidates, evidence / module.TRUST) > 0.93
    again = fit(candidates, 2, seed=0)
    assert all(torch.equal(a, b) for a, b in zip(verifier.parameters(), again.parameters(), strict=True))


def test_a_checkpoint_gets_a_verifier_and_its_file_gives_the_evidence(trained: Path, tmp_path: Path) -> None:
    checkpoint = Path(shutil.copy(trained, tmp_path / "checkpoint.pt"))
    plain, before = read_checkpoint(checkpoint, FEATURES)
    add_verifier(checkpoint, make_batches(verifier_hours=0.5, temperature=1.0), FEATURES, WORDS)
    network, card = read_checkpoint(checkpoint, FEATURES)
    assert (before.verified, before.columns, card.verified, card.columns) == (False, 40 + before.hidden, True, 42)
    assert card.parameters == before.parameters + sum(p.numel() for p in network.verifier.parameters())
    assert export(network, card, tmp_path / "model.onnx") <= 1e-4
    encoder = Encoder((tmp_path / "model.onnx").read_bytes())
    log_mel = np.random.default_rng(0).normal(-6, 3, (40, 40)).astype(np.float32)
    rows, _ = encoder.run(log_mel, encoder.initial_state())
    with torch.no_grad():
        hidden, _ = plain.hidden(torch.from_numpy(log_mel)[None], plain.initial_state(1))
        evidence = network.verifier(hidden)[0]
    assert rows.shape == (10, 42)
    np.testing.assert_allclose(np.exp(rows[:, :40]).sum(1), 1, atol=1e-5)
    np.testing.assert_allclose(rows[:, 40:], evidence, atol=1e-4)
    # The card's keywords come first, whatever their place in the data: "yes" is the second word there
    saved = torch.load(checkpoint, weights_only=True)["verifier"]
    assert torch.equal(network.verifier.head.weight[0], saved["head.weight"][1])


def test_a_keyword_without_recordings_has_no_evidence(trained: Path, tmp_path: Path) -> None:
    content = torch.load(trained, weights_only=True)
    content["settings"]["keywords"] = ("up", "yes")
    made = fit(dataclasses.replace(make_candidates(), hidden=torch.randn(4_000, 16)), 2, seed=0)
    torch.save(content | {"verifier": made.state_dict()}, tmp_path / "checkpoint.pt")
    network, card = read_checkpoint(tmp_path / "checkpoint.pt", FEATURES)
    assert [word.name for word in (*card.keywords, *card.fillers)] == ["up", "yes", "no"]
    with torch.no_grad():
        evidence = network.verifier(torch.randn(5, 16))
    assert not evidence[:, 0].any()
    assert evidence[:, 1:].all()


def test_other_words_are_refused_and_too_little_is_logged(
    trained: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = Path(shutil.copy(trained, tmp_path / "checkpoint.pt"))
    content = checkpoint.read_bytes()
    with pytest.raises(UsageError, match=r"the words in the data are not those of '.*'; give the data"):
        add_verifier(checkpoint, make_batches(), FEATURES, ("no", "up"))
    monkeypatch.setattr(module, "FAINTEST_VERIFIED", 2.0)
    with caplog.at_level(logging.WARNING):
        add_verifier(checkpoint, make_batches(verifier_hours=0.5), FEATURES, WORDS)
    assert "no verifier: the search finds too little in 0.5 hours of streams" in caplog.text
    assert checkpoint.read_bytes() == content


def test_a_hit_is_judged_in_all_frames_in_which_it_is_heard_nearly_as_well() -> None:
    scores = np.zeros((40, 2))
    scores[8:14, 0] = [0.1, 0.2, 0.5, 0.5, 0.3, 0.1]
    scores[38:, 1], scores[20, 1] = [0.2, 0.4], 0.4
    hit, frames = module._around(scores, np.array([10, 20, 39]), np.array([0, 1, 1]), np.array([True, False, True]))
    assert list(zip(hit.tolist(), frames.tolist(), strict=True)) == [
        (0, 9),
        (0, 10),
        (0, 11),
        (0, 12),
        (2, 38),
        (2, 39),
    ]
