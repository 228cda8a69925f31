"""A model's own words and open ones side by side."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from lcspeech import Keyword, Spotter, pretrained
from lcspeech.card import ModelCard, OpenSettings
from lcspeech.decoder import SPREAD, KeywordSearch
from lcspeech.scoring import soften, softened
from lcspeech.search import (
    FAINTEST_VERIFIED,
    LONGEST_SECONDS,
    SILENT,
    RestingSearch,
    Search,
    log_odds,
    longest_seconds,
)
from tests.words import RATE, spoken


@pytest.fixture(scope="module")
def spotter() -> Spotter:
    """One without evidence: what there is of it, tests draw."""
    spotter = Spotter.load()
    settings = dataclasses.replace(spotter.card.search, slope=1.2, offset=2.0)
    spotter.encoder.card = dataclasses.replace(spotter.card, verified=False, search=settings)
    return spotter


@pytest.fixture(scope="module")
def log_probs(spotter: Spotter) -> np.ndarray:
    return spotter.log_probs(np.concatenate([spoken("zero")[0], spoken("yes")[0]]), sample_rate=RATE)


def open_word(name: str, *spellings: str) -> Keyword:
    return Keyword.spelled(name, [spelling.split() for spelling in spellings])


def test_each_kind_is_searched_as_if_alone_and_stays_in_its_place(spotter: Spotter, log_probs: np.ndarray) -> None:
    own, typed = spotter.keyword("yes"), open_word("null", "Z IH R AA")
    by_unit = tuple(0.1 * unit for unit in range(len(spotter.units)))
    settings = OpenSettings(temperature=3.0, slope=0.5, offset=2.0, per_unit=0.25, by_unit=by_unit)
    own_settings = dataclasses.replace(spotter.card.search, temperature=1.5)
    card = dataclasses.replace(spotter.card, search=own_settings, open=settings)
    search = Search([typed, own, open_word("oh", "OW")], card)
    hits, _ = search.run(log_probs, search.initial_state())
    longest = LONGEST_SECONDS / card.frame_seconds
    alone = KeywordSearch([own], card.search, longest)
    expected, _ = alone.run(log_probs, alone.initial_state())
    np.testing.assert_array_equal(hits.scores[:, 1], expected.scores[:, 0])
    soft = KeywordSearch([typed], card.open_search, longest)
    expected, _ = soft.run(log_probs, soft.initial_state())
    rare = sum(by_unit[unit] for unit in typed.sequences[0])
    score = 1 / (1 + np.exp(-(0.5 * log_odds(expected.scores[:, 0]) + 2.0 + 0.25 * 4 + rare)))
    np.testing.assert_allclose(hits.scores[:, 0], np.where(expected.scores[:, 0] > 1e-60, score, 0), rtol=1e-12)
    np.testing.assert_array_equal(hits.ends[:, 0], expected.ends[:, 0])
    assert hits.scores.shape == (len(log_probs), 3)


@pytest.mark.parametrize("size", [1, 7])
def test_blocks_give_the_bits_of_the_whole(spotter: Spotter, log_probs: np.ndarray, size: int) -> None:
    search = Search([spotter.keyword("yes"), open_word("null", "Z IH R OW", "Z IY R AO")], spotter.card)
    whole, _ = search.run(log_probs, search.initial_state())
    state, parts = search.initial_state(), []
    for start in range(0, len(log_probs), size):
        hits, state = search.run(log_probs[start : start + size], state)
        assert hits.first_frame == start
        parts.append(hits.scores)
    np.testing.assert_array_equal(np.concatenate(parts), whole.scores)


@pytest.mark.parametrize("is_open", [False, True])
def test_a_word_is_expected_before_its_end(spotter: Spotter, log_probs: np.ndarray, is_open: bool) -> None:
    keyword = open_word("null", "Z IH R OW", "Z IY R OW") if is_open else spotter.keyword("zero")
    keyword = dataclasses.replace(keyword, threshold=0.5)
    search = Search([keyword], spotter.card)
    state, expected, scores = search.initial_state(), [], []
    for frame in log_probs:
        hits, state = search.run(frame[None], state)
        expected.append(search.soonest(state, 0.0))
        scores.append(hits.scores[0, 0])
    assert max(scores) > keyword.threshold
    first = int(np.argmax(np.array(scores) > keyword.threshold))  # a blank has followed by then
    assert all(1 <= frames <= left for frames, left in zip(expected[first - 4 : first], (4, 3, 2, 1), strict=True))
    assert np.mean(np.isfinite(expected)) < 0.5


def test_own_words_whose_map_takes_the_improbable_for_said_are_underway_sooner(
    spotter: Spotter, log_probs: np.ndarray
) -> None:
    faint = np.log(0.0005 * np.exp(log_probs.astype(np.float64)))
    faint[:, 0] = np.log1p(-np.exp(faint[:, 1:]).sum(1))
    sooner = []
    for offset in (0.0, 10.0):
        settings = dataclasses.replace(spotter.card.search, slope=0.5, offset=offset, temperature=1.0)
        search = Search([spotter.keyword("yes")], dataclasses.replace(spotter.card, search=settings))
        state, soonest = search.initial_state(), []
        for row in faint:
            _, state = search.run(row[None], state)
            soonest.append(search.soonest(state, 0.0))
        sooner.append(np.isfinite(soonest).sum())
    assert sooner[0] == 0
    assert sooner[1] > 0


@pytest.mark.parametrize("names", [("zero", "Y EH S"), ("yes", "Z IH R OW")])
def test_the_soonest_of_both_kinds_counts(spotter: Spotter, log_probs: np.ndarray, names: tuple[str, str]) -> None:
    words = spotter.keyword(names[0]), open_word("typed", names[1], "B AA AA AA B")  # hence not the model's own
    alone, both = [Search([word], spotter.card) for word in words], Search(words, spotter.card)
    states, state, orders = [search.initial_state() for search in alone], both.initial_state(), set()
    for frame in log_probs:
        states = [search.run(frame[None], own)[1] for search, own in zip(alone, states, strict=True)]
        _, state = both.run(frame[None], state)
        own, typed = (search.soonest(one, 0.0) for search, one in zip(alone, states, strict=True))
        assert both.soonest(state, 0.0) == min(own, typed)
        orders.add((own < typed, typed < own))
    assert len(orders) == 3


def test_a_word_is_the_models_own_by_its_spelling(spotter: Spotter) -> None:
    yes = spotter.keyword("yes")
    assert set(Search([yes], spotter.card).initial_state()) == {
        f"own_{name}" for name in ("alpha", "blanks", "endings", "finals", "frame")
    }
    renamed = dataclasses.replace(yes, name="oui")
    assert all(name.startswith("own_") for name in Search([renamed], spotter.card).initial_state())
    longer = dataclasses.replace(yes, sequences=(*yes.sequences, (37, 11)))
    assert all(name.startswith("open_") for name in Search([longer], spotter.card).initial_state())


def test_softening_keeps_the_order_and_the_sum(log_probs: np.ndarray) -> None:
    soft = soften(log_probs, 2.0)
    np.testing.assert_allclose(np.exp(soft).sum(1), 1)
    np.testing.assert_array_equal(soft.argmax(1), log_probs.argmax(1))
    assert (soft.max(1) <= log_probs.max(1) + 1e-6).all()
    np.testing.assert_allclose(soften(log_probs, 1.0), log_probs, atol=1e-5)
    for temperature in (1.0, 2.0):
        np.testing.assert_allclose(softened(log_probs, temperature), np.exp(soften(log_probs, temperature)), rtol=1e-9)


def test_a_phrase_may_last_longer_than_a_word(spotter: Spotter) -> None:
    sure = np.full((120, len(spotter.units)), np.log(1e-6))
    sure[:, 0] = np.log(1 - 39e-6)
    spelling = "HH EY K AH M P Y UW T ER"
    for frame, unit in zip((10, 14, *range(40, 72, 4)), spotter.units.encode(spelling.split()), strict=True):
        sure[frame, 0], sure[frame, unit] = np.log(1e-6), np.log(1 - 39e-6)  # a second between the two words
    card = dataclasses.replace(spotter.card, open=OpenSettings(temperature=1.0))
    phrase = open_word("hey computer", spelling)
    as_word = KeywordSearch([phrase], card.open_search, LONGEST_SECONDS / card.frame_seconds)
    for search, heard in ((as_word, False), (Search([phrase], card), True)):
        hits, _ = search.run(sure, search.initial_state())
        assert (hits.scores.max() > 0.9) == heard


def nothing_heard(frames: int, units: int, is_gates: bool) -> np.ndarray:
    """Rows of blank: those that a closed gate gives, less sure of it, or a network's, in which units differ."""
    blank = 0.9 if is_gates else np.exp(SILENT) + 1e-4
    others = (
        np.ones((frames, units - 1)) if is_gates else np.random.default_rng(0).uniform(0.5, 1.5, (frames, units - 1))
    )
    others *= (1 - blank) / others.sum(1, keepdims=True)
    return np.log(np.concatenate([np.full((frames, 1), blank), others], 1))


@pytest.mark.parametrize("is_gates", [False, True])
@pytest.mark.parametrize("kind", ["own", "open"])
def test_where_nothing_is_heard_for_long_there_is_no_search(
    spotter: Spotter, log_probs: np.ndarray, kind: str, is_gates: bool
) -> None:
    words = [spotter.keyword("yes"), spotter.keyword("zero")]
    if kind == "open":
        words.append(open_word("null", "Z IH R AA"))
    search = Search(words, spotter.card)
    resting = RestingSearch(search, spotter.card)
    rest = resting.patience
    assert (rest > LONGEST_SECONDS / spotter.card.frame_seconds) == (kind == "open")
    shut = nothing_heard(rest + 7, len(spotter.units), is_gates)
    rows = np.concatenate([log_probs, shut, log_probs]).astype(np.float32)
    hits, _ = resting.run(rows, resting.initial_state())
    plain, _ = search.run(rows, search.initial_state())
    begin, end = len(log_probs) + rest, len(log_probs) + len(shut)
    before = slice(SPREAD, begin)
    np.testing.assert_allclose(hits.scores[before], plain.scores[before], atol=2e-3)
    assert plain.scores[begin:end].any()
    assert not hits.scores[begin:end].any()
    loud = hits.scores[end:] > 0.1
    assert loud[:, :2].any(0).all()
    for name in ("scores", "starts", "ends"):  # afterwards as if it had been searched, but for what was begun before
        after, expected = (getattr(value, name)[end:][loud] for value in (hits, plain))
        np.testing.assert_allclose(after, expected, atol=0.05)
    state, parts = resting.initial_state(), []
    for start in range(0, len(rows), 5):
        part, state = resting.run(rows[start : start + 5], state)
        assert part.first_frame == start
        parts.append(part.scores)
    np.testing.assert_allclose(np.concatenate(parts), hits.scores, rtol=1e-9)


@pytest.mark.parametrize("pause", [24, 35])
def test_a_phrase_may_be_said_with_a_pause_in_it(spotter: Spotter, pause: int) -> None:
    sure, spelling = nothing_heard(120, len(spotter.units), is_gates=False), "HH EY K AH M P Y UW T ER"
    rest = range(25 + pause, 25 + pause + 24, 3)
    for frame, unit in zip((21, 24, *rest), spotter.units.encode(spelling.split()), strict=True):
        sure[frame, 0], sure[frame, unit] = np.log(1e-6), np.log(1 - 39e-6)
    card = dataclasses.replace(spotter.card, open=OpenSettings(temperature=1.0))
    plain = Search([open_word("hey computer", spelling)], card)
    found, heard = (
        search.run(sure, search.initial_state())[0].scores for search in (plain, RestingSearch(plain, card))
    )
    assert found.max() > 0.5
    assert heard.max() == pytest.approx(found.max(), rel=0.01)


@pytest.mark.parametrize("units", [5, 25, 38, 60])
def test_no_phrase_is_heard_in_silence_however_long(units: int) -> None:
    """Each unit makes what talk is taken for rarer, and a score higher; where nothing is said it stays 0."""
    open_spotter = Spotter.load(pretrained.OPEN)
    random = np.random.default_rng(units)
    phrase = Keyword("a phrase", (tuple(random.integers(1, 40, units).tolist()),))
    faint = random.normal(0, 1e-4, 16_000 * 15).astype(np.float32)
    for samples in (np.zeros_like(faint), faint):
        assert open_spotter.replace(keywords=[phrase], threshold=0.01).spot(samples, sample_rate=16_000) == ()


def test_a_word_spelled_in_two_ways_is_heard_as_each_of_them_would_be(spotter: Spotter, log_probs: np.ndarray) -> None:
    settings = OpenSettings(temperature=1.5, slope=0.5, offset=-1.0, per_unit=0.75)
    card = dataclasses.replace(spotter.card, open=settings)
    spellings = ("Z IH R AA", "Z IH R AA K"), ("Z IH R AA",), ("Z IH R AA K",)
    search = Search([open_word("null", *each) for each in spellings], card)
    hits, _ = search.run(log_probs, search.initial_state())
    odds = np.exp(log_odds(hits.scores) / settings.slope)  # of faint words as good as probabilities, which add up
    best = hits.scores.max(0)
    assert best[1] != pytest.approx(best[2], rel=0.1)
    row = hits.scores[:, 1].argmax()
    assert odds[row, 0] == pytest.approx(odds[row, 1] + odds[row, 2], rel=0.05)


def verified(log_probs: np.ndarray, spotter: Spotter, seed: int = 0) -> tuple[np.ndarray, ModelCard]:
    """Rows with evidence for every known word, and the card that says so."""
    card = dataclasses.replace(spotter.card, verified=True)
    evidence = np.random.default_rng(seed).normal(0, 3, (len(log_probs), card.columns - len(card.units)))
    return np.concatenate([log_probs[:, : len(card.units)], evidence.astype(np.float32)], axis=1), card


def test_evidence_is_added_to_the_log_odds_of_own_words(spotter: Spotter, log_probs: np.ndarray) -> None:
    rows, card = verified(log_probs, spotter)
    plain = spotter.card
    names = [word.name for word in card.known()]
    own = [spotter.keyword("yes"), dataclasses.replace(spotter.keyword("zero"), name="nought")]
    typed = open_word("null", "Z IH R AA")
    keywords = [own[0], typed, own[1]]
    units = len(card.units)
    search, bare = Search(keywords, card), Search(keywords, plain)
    hits, _ = search.run(rows, search.initial_state())
    expected, _ = bare.run(rows[:, :units], bare.initial_state())
    np.testing.assert_array_equal(hits.scores[:, 1], expected.scores[:, 1])  # an open word has none
    identity = dataclasses.replace(plain, search=dataclasses.replace(plain.search, slope=1.0, offset=0.0))
    raw = Search(keywords, identity)
    found, _ = raw.run(rows[:, :units], raw.initial_state())
    for place, name in ((0, "yes"), (2, "zero")):
        odds = log_odds(found.scores[:, place]) + rows[:, units + names.index(name)]
        score = 1 / (1 + np.exp(-(card.search.slope * odds + card.search.offset)))
        faint = found.scores[:, place] < FAINTEST_VERIFIED
        assert 0 < faint.sum() < len(faint)
        np.testing.assert_allclose(hits.scores[~faint, place], score[~faint], rtol=1e-9)
        assert not hits.scores[faint, place].any()


@pytest.mark.parametrize("size", [1, 7])
def test_blocks_with_evidence_give_the_bits_of_the_whole(spotter: Spotter, log_probs: np.ndarray, size: int) -> None:
    rows, card = verified(log_probs, spotter)
    search = Search([spotter.keyword("zero"), open_word("null", "Z IH R OW")], card)
    whole, _ = search.run(rows, search.initial_state())
    state, parts = search.initial_state(), []
    for start in range(0, len(rows), size):
        hits, state = search.run(rows[start : start + size], state)
        parts.append(hits.scores)
    np.testing.assert_array_equal(np.concatenate(parts), whole.scores)


def test_a_verified_word_is_expected_before_its_end(spotter: Spotter, log_probs: np.ndarray) -> None:
    rows, card = verified(log_probs, spotter)
    search = Search([spotter.keyword("zero")], card)
    state, expected = search.initial_state(), []
    for row in rows:
        _, state = search.run(row[None], state)
        expected.append(search.soonest(state, 0.0))
    assert 0 < np.isfinite(expected).sum() < len(expected) / 2


def test_nothing_is_surer_than_a_threshold_of_one() -> None:
    spotter = Spotter.load()
    word, rows = spotter.keyword("no"), np.log(np.full((30, spotter.card.columns), 1e-4))
    rows[:, len(spotter.units) :], rows[:, 0] = 1000.0, np.log(0.99)
    for frame, unit in enumerate(word.sequences[0], start=8):
        rows[frame, 0], rows[frame, unit] = np.log(1e-4), np.log(0.99)
    search = Search([word], spotter.card)
    assert 0.999 < search.run(rows, search.initial_state())[0].scores.max() < 1.0


def test_the_longest_pronunciation_says_how_long_a_keyword_may_last() -> None:
    keyword = Keyword.spelled("vlc", [("V", "IY"), ("V", "IY", "EH", "L", "S", "IY") * 2])
    assert longest_seconds(keyword) == 3.0
