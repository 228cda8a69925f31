"""Exact CTC scores against an enumeration of all paths, and the posteriors of a closed set."""

from __future__ import annotations

import itertools
from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from lcspeech.scoring import SILENCE, UNKNOWN, ClosedSet, Lattice, sequence_log_probs
from lcspeech.units import Keyword

Spelling = tuple[int, ...]


def random_log_probs(frames: int, units: int, seed: int = 0) -> NDArray[np.float64]:
    logits = np.random.default_rng(seed).normal(0, 2, (frames, units))
    return np.asarray(logits - np.logaddexp.reduce(logits, axis=1, keepdims=True))


def collapse(path: tuple[int, ...]) -> Spelling:
    """What a path spells: repeats are one unit, blanks are none."""
    return tuple(unit for unit, _ in itertools.groupby(path) if unit != 0)


def by_enumeration(log_probs: NDArray[np.floating]) -> dict[Spelling, float]:
    """The probability of every sequence that the frames can spell."""
    frames, units = log_probs.shape
    probabilities = np.exp(log_probs.astype(np.float64))
    total: dict[Spelling, float] = defaultdict(float)
    for path in itertools.product(range(units), repeat=frames):
        total[collapse(path)] += float(np.prod(probabilities[range(frames), path]))
    return total


@pytest.mark.parametrize(("frames", "units"), [(1, 3), (4, 4), (5, 3), (5, 4)])
def test_every_sequence_against_enumeration(frames: int, units: int) -> None:
    log_probs = random_log_probs(frames, units)
    expected = by_enumeration(log_probs)
    scores = sequence_log_probs(log_probs, Lattice.build([[sequence] for sequence in expected]))
    assert scores.dtype == np.float64
    np.testing.assert_allclose(np.exp(scores), list(expected.values()), rtol=1e-12)
    assert np.exp(scores).sum() == pytest.approx(1.0, abs=1e-12)


@given(
    st.integers(0, 2**16),
    st.lists(
        st.lists(st.lists(st.integers(1, 3), max_size=5).map(tuple), min_size=1, max_size=3, unique=True),
        min_size=1,
        max_size=5,
    ),
)
@settings(max_examples=40, deadline=None)
def test_groups_add_up_their_pronunciations(seed: int, groups: list[list[Spelling]]) -> None:
    groups = [*groups, [(1,)]]
    log_probs = random_log_probs(4, 4, seed)
    every = by_enumeration(log_probs)
    expected = [sum(every.get(sequence, 0.0) for sequence in group) for group in groups]
    scores = sequence_log_probs(log_probs, Lattice.build(groups))
    assert scores.shape == (len(groups),)
    np.testing.assert_allclose(np.exp(scores), expected, rtol=1e-10)


def test_two_frames_by_hand() -> None:
    p = np.array([[0.5, 0.3, 0.2], [0.1, 0.6, 0.3]])
    scores = np.exp(sequence_log_probs(np.log(p), Lattice.build([[()], [(1,)], [(1, 2)], [(1, 1)], [(2,), (2, 1)]])))
    assert scores == pytest.approx([0.05, 0.3 * 0.1 + 0.5 * 0.6 + 0.3 * 0.6, 0.3 * 0.3, 0.0, 0.02 + 0.15 + 0.06 + 0.12])


def test_a_repeated_unit_needs_a_blank_between() -> None:
    certain = np.log(np.full((3, 2), 1e-9))
    certain[[0, 1, 2], [1, 0, 1]] = np.log(1 - 1e-9)
    apart = np.exp(sequence_log_probs(certain, Lattice.build([[(1, 1)], [(1,)]])))
    assert apart == pytest.approx([1.0, 0.0], abs=1e-7)
    together = np.exp(sequence_log_probs(certain[[0, 2, 2]], Lattice.build([[(1, 1)], [(1,)]])))
    assert together == pytest.approx([0.0, 1.0], abs=1e-7)


def test_impossible_is_minus_infinity() -> None:
    scores = sequence_log_probs(random_log_probs(2, 4), Lattice.build([[(1, 2, 3)], [(1, 1)], [(1, 2)]]))
    assert np.isneginf(scores[:2]).all()
    assert np.isfinite(scores[2])


def test_silence_alone() -> None:
    log_probs = random_log_probs(3, 4)
    assert sequence_log_probs(log_probs, Lattice.build([[()]])) == pytest.approx([log_probs[:, 0].sum()])


def test_no_frames_spell_silence_alone() -> None:
    scores = sequence_log_probs(np.empty((0, 4), np.float32), Lattice.build([[()], [(1,)]]))
    assert scores.tolist() == [0.0, -np.inf]


def test_float32_is_summed_in_double_precision() -> None:
    log_probs = random_log_probs(5, 4).astype(np.float32)
    expected = by_enumeration(log_probs)
    scores = sequence_log_probs(log_probs, Lattice.build([[(1, 2)], [(3,)]]))
    np.testing.assert_allclose(np.exp(scores), [expected[1, 2], expected[3,]], rtol=1e-12)


def test_the_lattice_of_two_words() -> None:
    lattice = Lattice.build([[(1, 2, 2)], [(), (3,)]])
    assert lattice.labels.tolist() == [0, 1, 0, 2, 0, 2, 0, 0, 0, 3, 0]
    assert lattice.first.nonzero()[0].tolist() == [0, 7, 8]
    assert lattice.skip.nonzero()[0].tolist() == [3]  # from 1 to 2; not from 2 to 2, nor to a first unit
    assert lattice.last.tolist() == [6, 7, 10]
    assert lattice.owner.tolist() == [0, 1, 1]


YES, NO, OWN = Keyword("yes", ((1, 2), (1, 3))), Keyword("no", ((3,),)), Keyword("own", ((2, 2), (2,)))


def expected_posteriors(log_probs: NDArray[np.float64], bias: float) -> list[float]:
    p = by_enumeration(log_probs)
    yes, no, own, silence = p[1, 2] + p[1, 3], p[3,], p[2, 2] + p[2,], p[()]
    rest = 1 - yes - no - own - silence
    raw = np.array([yes, no, rest * np.exp(bias) + own, silence])
    return list(raw / raw.sum())


@pytest.mark.parametrize("bias", [0.0, 2.0, -1.5])
def test_posteriors_by_value(bias: float) -> None:
    log_probs = random_log_probs(5, 4, seed=3)
    closed = ClosedSet([YES, NO], [OWN], bias)
    assert closed.labels == ("yes", "no", UNKNOWN, SILENCE)
    posteriors = closed.posteriors(log_probs)
    assert posteriors == pytest.approx(expected_posteriors(log_probs, bias), rel=1e-9)


@given(st.integers(0, 2**16), st.floats(-5, 5), st.booleans())
@settings(max_examples=30, deadline=None)
def test_posteriors_are_a_distribution(seed: int, bias: float, with_filler: bool) -> None:
    posteriors = ClosedSet([YES, NO], [OWN] if with_filler else [], bias).posteriors(random_log_probs(6, 4, seed))
    assert posteriors.shape == (4,)
    assert posteriors.sum() == pytest.approx(1.0, abs=1e-12)
    assert (posteriors >= 0).all()


def spelled(path: list[int]) -> NDArray[np.float64]:
    """Log-probs that are all but certain of one path."""
    p = np.full((len(path), 4), 1e-4)
    p[range(len(path)), path] = 1 - 3e-4
    return np.asarray(np.log(p))


@pytest.mark.parametrize(
    ("path", "label"),
    [
        ([0, 0, 0, 0], SILENCE),
        ([0, 1, 0, 2], "yes"),
        ([1, 1, 3, 3], "yes"),
        ([0, 3, 3, 0], "no"),
        ([3, 0, 3, 0], UNKNOWN),  # "no" twice is not "no"
        ([2, 1, 0, 0], UNKNOWN),
        ([0, 2, 0, 2], UNKNOWN),  # the filler
    ],
)
def test_a_certain_path_is_what_it_spells(path: list[int], label: str) -> None:
    closed = ClosedSet([YES, NO], [OWN], 0.0)
    posteriors = closed.posteriors(spelled(path))
    assert closed.labels[posteriors.argmax()] == label
    assert posteriors.max() > 0.99


def test_a_filler_is_not_biased() -> None:
    heard = [ClosedSet([YES], [OWN], bias).posteriors(spelled([2, 0, 2, 0]))[1] for bias in (-10.0, 0.0)]
    assert min(heard) > 0.99


def test_the_silence_bias_shifts_the_odds_of_silence() -> None:
    log_probs = random_log_probs(6, 4, seed=2)
    plain, shifted = (ClosedSet([YES, NO], [OWN], -1.0, bias).posteriors(log_probs) for bias in (0.0, -2.0))
    assert np.log(shifted[-1] / shifted[0]) == pytest.approx(np.log(plain[-1] / plain[0]) - 2)
    np.testing.assert_allclose(shifted[:-1] / shifted[0], plain[:-1] / plain[0])


def test_a_filler_moves_its_mass_only_when_biased() -> None:
    log_probs = random_log_probs(5, 4, seed=1)
    without, beside = ClosedSet([YES, NO], [], 0.0), ClosedSet([YES, NO], [OWN], 0.0)
    np.testing.assert_allclose(without.posteriors(log_probs), beside.posteriors(log_probs), rtol=1e-9)


def test_certainty_leaves_finite_posteriors() -> None:
    log_probs = np.full((4, 4), -np.inf)
    log_probs[:, 0] = 0.0
    posteriors = ClosedSet([YES], [], 3.0).posteriors(log_probs)
    assert posteriors == pytest.approx([0.0, 0.0, 1.0], abs=1e-9)
