"""Heads that are learned: by the slope of what the search scores, so that the word is heard more surely, talk less."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from lcspeech import Keyword, ModelError, Spotter, UsageError, learning, pretrained
from lcspeech.decoder import KeywordSearch
from lcspeech.learning import Learner, Rows, Shape
from lcspeech.search import log_odds
from tests.learning import learn_briefly
from tests.words import RATE, Floats, spoken, variants

BASE = Spotter.load(pretrained.OPEN)
# "zero" is a word that "open" knows: by another spelling it is heard as a typed one would be
ZERO = BASE.spelled("null", [("Z", "IH", "R", "OW"), ("Z", "IY", "R", "AO")])


@pytest.fixture(scope="module", autouse=True)
def talk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Floats]:
    with pytest.MonkeyPatch.context() as patch:
        path = learn_briefly(patch, tmp_path_factory.mktemp("talk"))
        yield np.asarray(soundfile.read(path, dtype="float32")[0])


@pytest.fixture(scope="module")
def recordings() -> list[Floats]:
    return variants(spoken("zero")[0], 5)


@pytest.fixture(scope="module")
def learner(recordings: list[Floats]) -> Learner:
    return Learner(ZERO, BASE, recordings)


@pytest.fixture(scope="module")
def learned(learner: Learner) -> Keyword:
    return learner.learn()


def odds(keyword: Keyword, samples: Floats) -> float:
    """The highest log-odds, in nats, that the keyword reaches: 0 where it scores 0.5."""
    return float(log_odds(np.array(BASE.replace(keywords=[keyword]).peak(samples, RATE)))) / BASE.card.open.slope


def random_log_probs(shape: Shape, rows: int, frames: int) -> np.ndarray:
    logits = np.random.default_rng(0).normal(0, 2, (rows, frames, shape.lattice.labels.max() + 2))
    return (logits - np.log(np.exp(logits).sum(2, keepdims=True)))[:, :, :-1]  # all else is not among the columns


def test_hits_are_the_mass_that_the_search_scores() -> None:
    shape = Shape.of(ZERO, BASE)
    log_probs = random_log_probs(shape, 3, 20)
    hits, _ = shape.hits(log_probs)
    column = {unit: i for i, unit in enumerate(ZERO.head_units)}
    own = Keyword("null", tuple(tuple(column[unit] for unit in sequence) for sequence in ZERO.sequences))
    settings = dataclasses.replace(shape.search, temperature=1.0)
    search = KeywordSearch([own], settings, 1e9, shape.weights)
    for row, expected in zip(log_probs, hits, strict=True):
        after = np.full((settings.blanks_after + 40, row.shape[1]), -np.inf)
        after[:, 0] = 0.0
        state, total = search.initial_state(), 0.0
        for frame in np.concatenate([row, after]):  # each ending counts once: in the newest of the frames summed over
            _, state = search.run(frame[None], state)
            total += state["endings"][-1, 0, 0]
        assert total == pytest.approx(expected, rel=1e-9)


def test_the_slope_of_hits_is_that_of_small_changes() -> None:
    shape = Shape.of(ZERO, BASE)
    log_probs = random_log_probs(shape, 2, 24)
    hits, slope = shape.hits(log_probs)
    for place in ((0, 3, 0), (0, 10, 0), (1, 23, 0), (0, 12, 1), (1, 11, 4), (1, 12, 2)):
        moved = [log_probs.copy(), log_probs.copy()]
        for change, x in zip((1e-5, -1e-5), moved, strict=True):
            x[place] += change
        up, down = (shape.hits(x)[0][place[0]] for x in moved)
        assert slope[place] == pytest.approx((up - down) / 2e-5, rel=1e-5, abs=1e-8 * hits[place[0]])


def test_what_is_said_twice_has_a_slope_as_small_as_what_is_said_once() -> None:
    shape = Shape.of(ZERO, BASE)
    log_probs = np.full((2, 60, len(ZERO.head_units)), np.log(1e-4))
    log_probs[:, :, 0] = np.log(0.999)
    for row, starts in ((0, (20,)), (1, (20, 42))):
        for start in starts:
            for i in range(4):
                log_probs[row, start + i] = np.log(1e-4)
                log_probs[row, start + i, 1 + i] = np.log(0.999)
    hits, _ = shape.hits(log_probs)
    assert hits[1] > 1 > hits[0] > 0.5
    odds, slope = learning._odds(shape, log_probs)
    assert odds[1] > odds[0]
    assert abs(slope[1]).max() < 3 * abs(slope[0]).max() < 10


@pytest.mark.parametrize("is_said", [True, False])
def test_the_slope_of_the_loss_is_that_of_small_changes(
    learner: Learner, is_said: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learning, "_KEEP", 3.0)
    rows = (learner._said if is_said else learner._talking).take(np.arange(4))
    rows = Rows(rows.hidden.astype(np.float64), rows.log_probs.astype(np.float64))  # type: ignore[arg-type]
    shape, random = learner._shape, np.random.default_rng(0)
    weights = random.normal(0, 0.1, (rows.hidden.shape[2] + 1, len(ZERO.head_units)))
    direction = random.normal(0, 1, weights.shape)

    def loss(weights: np.ndarray) -> float:
        odds, _ = learning._loss(shape, rows, weights, is_said)
        sign = -1.0 if is_said else 1.0
        total = float(np.log1p(np.exp(learning._MARGIN + sign * (odds - shape.middle))).mean())
        if not is_said:
            moved = rows.hidden @ weights[:-1] + weights[-1]
            known = np.exp(rows.log_probs)
            rest = np.log(1 + (known * (np.exp(moved) - 1)).sum(2))
            total += 3.0 * float((rest - (known * moved).sum(2)).mean())
        return total

    _, gradient = learning._loss(shape, rows, weights, is_said)
    slope = (loss(weights + 1e-3 * direction) - loss(weights - 1e-3 * direction)) / 2e-3
    assert (gradient * direction).sum() == pytest.approx(slope, rel=2e-3)


def test_the_word_is_heard_more_surely_and_talk_less(learned: Keyword, talk: Floats) -> None:
    other = spoken("zero")[1]
    noisy = other + np.random.default_rng(1).normal(0, 0.03, len(other)).astype(np.float32)
    assert odds(learned, noisy) > odds(ZERO, noisy) + 0.3
    assert odds(learned, talk) < min(-1, odds(ZERO, talk))
    (event,) = BASE.replace(keywords=[learned]).spot(other, sample_rate=RATE)
    assert event.keyword == "null"


def test_blocks_and_a_saved_state_give_the_events_of_the_whole(learned: Keyword) -> None:
    spotter = BASE.replace(keywords=[learned, "down", "hey computer"])
    samples = np.concatenate([spoken("zero")[1], spoken("down")[0], spoken("zero")[0]])
    whole = spotter.spot(samples, sample_rate=RATE)
    assert [event.keyword for event in whole] == ["null", "down", "null"]
    stream, events = spotter.stream(RATE), []
    for start in range(0, len(samples), 997):
        events += stream.feed(samples[start : start + 997])
        stream = spotter.stream(RATE, stream.state)
    for event, expected in zip([*events, *stream.flush()], whole, strict=True):
        assert dataclasses.astuple(event) == pytest.approx(dataclasses.astuple(expected), abs=1e-4)


def test_each_of_several_is_heard_as_if_alone(learned: Keyword, learner: Learner) -> None:
    other = dataclasses.replace(learner.learn(without=[0, 1]), name="other")
    assert other.head != learned.head
    samples = np.concatenate([spoken("yes")[0], spoken("zero")[1]])

    def scores(*keywords: Keyword) -> np.ndarray:
        with BASE.replace(keywords=keywords).stream(RATE) as stream:
            stream.feed(samples)
            return np.concatenate([hits.scores for hits in stream.hits])

    both = scores(learned, BASE.keyword("yes"), other)
    np.testing.assert_allclose(both[:, [0]], scores(learned), rtol=1e-6)
    np.testing.assert_allclose(both[:, [2]], scores(other), rtol=1e-6)


def test_the_same_recordings_teach_the_same(learned: Keyword, recordings: list[Floats]) -> None:
    assert Learner(ZERO, BASE, recordings).learn() == learned
    assert Learner(ZERO, BASE, recordings, seed=1).learn() != learned


def test_what_is_left_out_teaches_nothing(recordings: list[Floats]) -> None:
    learner = Learner(ZERO, BASE, recordings[:4])
    is_fourth = (learner._of == 3)[:, None, None]
    hidden = np.where(is_fourth, np.nan, learner._said.hidden)
    learner._said = Rows(hidden, learner._said.log_probs)
    learner.learn(without=[3])  # a head of numbers
    with pytest.raises(ValueError, match="NaN"):
        learner.learn()


def test_negatives_are_heard_less_surely(learned: Keyword, recordings: list[Floats]) -> None:
    near = spoken("zero")[1]
    against = Learner(ZERO, BASE, recordings, negatives=[near]).learn()
    assert odds(against, near) < odds(learned, near) - 1


def test_a_keyword_file_keeps_the_head(learned: Keyword, tmp_path: Path) -> None:
    learned.save(tmp_path / "null.json")
    assert Keyword.load(tmp_path / "null.json") == learned
    assert (tmp_path / "null.json").stat().st_size < 40_000
    fields = json.loads((tmp_path / "null.json").read_text())
    for damage, said in (
        ({**fields["head"], "weights": "A" * 10}, "not a keyword file"),
        ({**fields["head"], "units": 5}, "not those of so many units"),
        ("none", "not a keyword file"),
    ):
        (tmp_path / "damaged.json").write_text(json.dumps({**fields, "head": damage}))
        with pytest.raises(UsageError, match=said):
            Keyword.load(tmp_path / "damaged.json")
    (tmp_path / "damaged.json").write_text(json.dumps({**fields, "pronunciations": ["Z IH"]}))
    with pytest.raises(UsageError, match="a word of other units; enroll it again"):
        Keyword.load(tmp_path / "damaged.json")


def test_a_head_fits_the_model_alone_that_it_was_learned_with(learned: Keyword) -> None:
    with pytest.raises(UsageError, match="'null' was not learned with this 'commands-tiny' but with 'open'"):
        Spotter.load("commands-tiny").replace(keywords=[learned])
    assert learned.head is not None
    older = dataclasses.replace(learned, head=dataclasses.replace(learned.head, sha256="0" * 64))
    with pytest.raises(UsageError, match="this 'open' but with another version of it; listen with that, or enroll"):
        BASE.replace(keywords=[older])


def test_without_the_shipped_talk_the_remedy_is_named(
    monkeypatch: pytest.MonkeyPatch, recordings: list[Floats], tmp_path: Path
) -> None:
    monkeypatch.setattr(learning, "TALK", tmp_path / "none.ogg")
    with pytest.raises(ModelError, match="is missing, which learning needs; install lcspeech again"):
        Learner(ZERO, BASE, recordings)
    soundfile.write(tmp_path / "none.flac", np.zeros(RATE), RATE)
    monkeypatch.setattr(learning, "TALK", tmp_path / "none.flac")
    with pytest.raises(ModelError, match="is cut off, which learning needs whole; install lcspeech again"):
        Learner(ZERO, BASE, recordings)


def test_few_negatives_count_as_a_tenth_of_the_talk(recordings: list[Floats], talk: Floats) -> None:
    near = spoken("zero")[1]
    learner = Learner(ZERO, BASE, recordings[:3], negatives=[near])
    assert len(learner._talk) == pytest.approx(1.1 * len(talk), abs=len(near))


def test_faint_negatives_count_as_loud_ones(recordings: list[Floats], talk: Floats) -> None:
    near = spoken("zero")[1]
    loud, faint = (
        Learner(ZERO, BASE, recordings[:3], negatives=[gain * near])._talk[len(talk) :] for gain in (1, 0.01)
    )
    np.testing.assert_allclose(loud, faint, atol=1e-3)


def test_recordings_and_voices_have_equal_shares(recordings: list[Floats]) -> None:
    learner = Learner(ZERO, BASE, recordings[:4], variants(spoken("zero")[1], 2))
    shares = [learner._shares[learner._of == clip].sum() for clip in range(6)]
    assert shares == pytest.approx([1 / 4] * 4 + [1 / 2] * 2)
