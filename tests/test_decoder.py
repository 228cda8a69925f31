"""The keyword search, held to brute-force enumeration of all paths, and to its laws on streams."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from lcspeech.card import SearchSettings
from lcspeech.decoder import Hits, KeywordSearch
from lcspeech.units import BLANK, Keyword

SETTINGS = SearchSettings(blanks_before=1, blanks_after=2)
KEYWORDS = (
    Keyword("ab", ((1, 2),)),
    Keyword("aa", ((1, 1),)),  # needs a blank between
    Keyword("b or aba", ((2,), (1, 2, 1))),
)
FIELDS = ("scores", "starts", "ends")
SPREAD = 8  # output frames over which ends are summed


def random_log_probs(frames: int, units: int = 3, seed: int = 0) -> NDArray[np.float32]:
    logits = np.random.default_rng(seed).normal(0, 2, (frames, units))
    return (logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)).astype(np.float32)


def spell(keys: str, symbols: str = "-abc", sure: float = 0.99) -> NDArray[np.float32]:
    """Log-probs that are sure of one unit per frame: ``spell("--ab--")``."""
    probs = np.full((len(keys), len(symbols)), (1 - sure) / (len(symbols) - 1))
    for row, key in zip(probs, keys, strict=True):
        row[symbols.index(key)] = sure
    return np.log(probs).astype(np.float32)


def collapse(path: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(unit for unit, _ in itertools.groupby(path) if unit != BLANK)


def occurrences(path: tuple[int, ...], keyword: Keyword, search: SearchSettings) -> list[tuple[int, int]]:
    """(first frame, last frame) of each time that a path holds the keyword on its own; before it all is blank."""
    before, after = search.blanks_before, search.blanks_after
    padded = (BLANK,) * before + path
    return [
        (start, end)
        for start, end in itertools.combinations_with_replacement(range(len(path)), 2)
        if path[start] != BLANK != path[end]
        and not any(padded[start : start + before])
        and end + after < len(path)
        and not any(path[end + 1 : end + 1 + after])
        and collapse(path[start : end + 1]) in keyword.sequences
    ]


def enumerate_paths(log_probs: NDArray[np.float32], search: SearchSettings) -> NDArray[np.float64]:
    """Mass, mean start and mean end of each keyword at each frame, ``[frames, keywords, 3]``."""
    frames, units = log_probs.shape
    mass = np.zeros((frames, len(KEYWORDS), 3))
    for path in itertools.product(range(units), repeat=frames):
        probability = float(np.exp(log_probs[np.arange(frames), path].astype(float).sum()))
        for k, keyword in enumerate(KEYWORDS):
            for start, end in occurrences(path, keyword, search):
                seen = end + search.blanks_after
                mass[seen : seen + SPREAD, k] += probability * np.array([1, start, end + 1])
    mass[..., 1:] /= np.maximum(mass[..., :1], 1e-300)
    return mass


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("search", [SETTINGS, SearchSettings(blanks_before=2, blanks_after=1)], ids=["1-2", "2-1"])
def test_scores_and_times_are_those_of_all_paths(seed: int, search: SearchSettings) -> None:
    log_probs = random_log_probs(9, seed=seed)
    decoder = KeywordSearch(KEYWORDS, search, longest=100)
    hits, _ = decoder.run(log_probs, decoder.initial_state())
    expected = enumerate_paths(log_probs, search)
    heard = expected[..., 0] > 0
    assert heard.sum() > 15
    np.testing.assert_allclose(hits.scores[heard], np.clip(expected[..., 0], 0, 1 - 1e-12)[heard], rtol=1e-6)
    np.testing.assert_allclose(hits.starts[heard], expected[..., 1][heard], rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(hits.ends[heard], expected[..., 2][heard], rtol=1e-6)
    assert (hits.scores[~heard] < 1e-11).all()


def test_the_sum_covers_eight_ends() -> None:
    decoder = KeywordSearch(KEYWORDS[:1], SETTINGS, longest=100)
    hits, _ = decoder.run(spell("--ab" + "-" * 20), decoder.initial_state())
    sure = np.flatnonzero(hits.scores[:, 0] > 0.9)
    assert sure.tolist() == list(range(5, 5 + SPREAD))  # from the second blank after "ab" on
    np.testing.assert_allclose(hits.starts[sure, 0], 2, atol=0.1)
    np.testing.assert_allclose(hits.ends[sure, 0], 4, atol=0.1)


@pytest.mark.parametrize("keys", ["--cab----", "--abc----", "--acb----", "--ab-c---", "--a-bb-b--"])
def test_a_part_of_something_longer_is_no_keyword(keys: str) -> None:
    decoder = KeywordSearch(KEYWORDS[:1], SETTINGS, longest=100)
    hits, _ = decoder.run(spell(keys), decoder.initial_state())
    assert hits.scores.max() < 0.1


@pytest.mark.parametrize("keys", ["ab--", "--ab--", "--aabb--", "--a--b--", "--aa-bbb--"])
def test_any_alignment_counts(keys: str) -> None:
    decoder = KeywordSearch(KEYWORDS[:1], SETTINGS, longest=100)
    hits, _ = decoder.run(spell(keys), decoder.initial_state())
    assert hits.scores[-1, 0] > 0.85
    first, last = keys.index("a"), keys.rindex("b")
    assert hits.starts[-1, 0] == pytest.approx(first, abs=0.1)
    assert hits.ends[-1, 0] == pytest.approx(last + 1, abs=0.1)


def test_what_takes_too_long_is_no_word() -> None:
    keys = "--a" + "-" * 10 + "b--"
    for longest, heard in ((12, True), (11, False)):
        decoder = KeywordSearch(KEYWORDS[:1], SETTINGS, longest)
        hits, _ = decoder.run(spell(keys), decoder.initial_state())
        assert (hits.scores[-1, 0] > 0.8) == heard


def test_the_calibration_is_a_logistic_map_of_the_log_odds() -> None:
    log_probs = random_log_probs(12)
    plain, mapped = (
        KeywordSearch(KEYWORDS, SearchSettings(1, 2, slope, offset), 100) for slope, offset in ((1, 0), (0.5, -2))
    )
    p = plain.run(log_probs, plain.initial_state())[0].scores
    expected = 1 / (1 + np.exp(-(0.5 * np.log(p / (1 - p)) - 2)))
    np.testing.assert_allclose(mapped.run(log_probs, mapped.initial_state())[0].scores, expected, rtol=1e-9)


LIKELY = np.full(3, 0.5)


def test_a_hit_is_as_near_as_what_must_still_be_said() -> None:
    words = [Keyword(keys, (tuple("-abc".index(key) for key in keys),)) for keys in ("abc", "c", "ba")]
    decoder = KeywordSearch(words, SETTINGS, 50.0)
    after = SETTINGS.blanks_after
    for keys, left in (("--", math.inf), ("--a", 2), ("--ab-", 1), ("--abc", 0), ("--b", 1), ("--bc", math.inf)):
        _, state = decoder.run(spell(keys), decoder.initial_state())
        assert decoder.soonest(state, LIKELY, -1.0) == left + after
    for blanks in range(1, 12):
        _, state = decoder.run(spell("--c" + blanks * "-"), decoder.initial_state())
        near = after - blanks if blanks < after else 1 if blanks < after + SPREAD - 1 else math.inf
        assert decoder.soonest(state, LIKELY, -1.0) == near
        if blanks >= after:  # what ended before the event
            assert decoder.soonest(state, LIKELY, 4.0) == math.inf
    assert decoder.soonest(state, np.ones(3), -1.0) == math.inf


@pytest.mark.parametrize("keys", ["abc", "c", "ba"])
@pytest.mark.parametrize("blanks_after", [1, 2, 4])
def test_no_hit_comes_sooner_than_foretold(keys: str, blanks_after: int) -> None:
    """Nor sooner than was ever foretold since nothing was underway: another start of the word takes longer."""
    random = np.random.default_rng(0)
    word = Keyword(keys, (tuple("-abc".index(key) for key in keys),))
    decoder = KeywordSearch([word], SearchSettings(1, blanks_after), 50.0)
    state, due, exactly = decoder.initial_state(), -math.inf, 0
    for frame in range(4_000):
        hits, state = decoder.run(spell(random.choice(list("----abc"))), state)
        if hits.scores[0, 0] > 0.6:
            assert frame >= due
            exactly += due == frame
            due = -math.inf
        soonest = decoder.soonest(state, np.full(1, 0.1), -1.0)
        due = max(due, frame + soonest) if math.isfinite(soonest) else -math.inf
    assert exactly > 3


def in_blocks(decoder: KeywordSearch, log_probs: NDArray[np.float32], blocks: list[int]) -> list[Hits]:
    state, start, parts = decoder.initial_state(), 0, []
    for size in [*blocks, len(log_probs)]:
        hits, state = decoder.run(log_probs[start : start + size], state)
        assert hits.first_frame == min(start, len(log_probs))
        parts.append(hits)
        start += size
    return parts


@given(st.lists(st.integers(0, 30), max_size=8))
@settings(max_examples=40, deadline=None)
def test_blocks_of_any_size_give_the_same_bits(blocks: list[int]) -> None:
    decoder, log_probs = KeywordSearch(KEYWORDS, SETTINGS, 100), random_log_probs(80)
    whole, _ = decoder.run(log_probs, decoder.initial_state())
    parts = in_blocks(decoder, log_probs, blocks)
    for name in FIELDS:
        np.testing.assert_array_equal(np.concatenate([getattr(p, name) for p in parts]), getattr(whole, name))


def test_the_future_never_changes_the_past() -> None:
    decoder = KeywordSearch(KEYWORDS, SETTINGS, 100)
    log_probs, other = random_log_probs(60), random_log_probs(60, seed=1)
    other[:40] = log_probs[:40]
    first, second = (decoder.run(x, decoder.initial_state())[0] for x in (log_probs, other))
    for name in FIELDS:
        np.testing.assert_array_equal(getattr(first, name)[:40], getattr(second, name)[:40])
    assert not np.array_equal(first.scores[40:], second.scores[40:])


def test_a_run_leaves_the_state_it_got() -> None:
    decoder = KeywordSearch(KEYWORDS, SETTINGS, 100)
    _, state = decoder.run(random_log_probs(10), decoder.initial_state())
    before = {name: array.copy() for name, array in state.items()}
    again = [decoder.run(random_log_probs(10, seed=2), state)[0] for _ in range(2)]
    for name, array in before.items():
        np.testing.assert_array_equal(state[name], array)
    np.testing.assert_array_equal(again[0].scores, again[1].scores)


def test_an_endless_stream_stays_finite_and_remembers_nothing_old() -> None:
    decoder = KeywordSearch(KEYWORDS, SETTINGS, 100)
    _, state = decoder.run(random_log_probs(20_000), decoder.initial_state())
    hits, _ = decoder.run(spell("------" + "--ab--", "-ab"), state)
    assert hits.scores[-1, 0] > 0.85
    assert hits.starts[-1, 0] == pytest.approx(20_008, abs=0.1)
    assert all(np.isfinite(array).all() for array in state.values())


def test_keywords_with_blanks_of_their_own_are_searched_each_as_if_alone() -> None:
    """As heads give them: blank and units of the first, then those of the second, each summing to less than 1."""
    parts = [random_log_probs(40, seed=seed) for seed in (0, 1)]
    shifted = Keyword("b or aba", tuple(tuple(unit + 3 for unit in sequence) for sequence in KEYWORDS[2].sequences))
    weights = [np.ones(1), np.array([1.0, 0.3])]
    both = KeywordSearch([KEYWORDS[0], shifted], SETTINGS, 50.0, np.concatenate(weights), blanks=(0, 3))
    rows = np.concatenate(parts, 1)
    _, state = both.run(rows[:15], both.initial_state())
    late, _ = both.run(rows[15:], state)
    anew, _ = both.run(rows[15:], both.initial_state(rows[:15], 15))
    for place, (keyword, part, weight) in enumerate(zip((KEYWORDS[0], KEYWORDS[2]), parts, weights, strict=True)):
        alone = KeywordSearch([keyword], SETTINGS, 50.0, weight)
        _, state = alone.run(part[:15], alone.initial_state())
        for hits, start in ((late, state), (anew, alone.initial_state(part[:15], 15))):
            expected, _ = alone.run(part[15:], start)
            for field in FIELDS:
                np.testing.assert_array_equal(getattr(hits, field)[:, [place]], getattr(expected, field))


def test_a_steep_map_stays_below_one() -> None:
    decoder = KeywordSearch(KEYWORDS[:1], SearchSettings(1, 2, slope=4.0), longest=100)
    hits, _ = decoder.run(spell("--ab------", sure=1 - 1e-7).astype(float), decoder.initial_state())
    assert 0.999 < hits.scores.max() < 1.0
