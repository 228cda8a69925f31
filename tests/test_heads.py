"""Heads: what they make of the network's log-probs, and what is no head."""

from __future__ import annotations

import numpy as np
import pytest

from lcspeech import UsageError
from lcspeech.heads import Head, Heads

UNITS, HIDDEN = 6, 3


def rows(frames: int = 5) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    logits = random.normal(0, 3, (frames, UNITS))
    hidden = random.uniform(-1, 1, (frames, HIDDEN)).astype(np.float32)
    return logits - np.log(np.exp(logits).sum(1, keepdims=True)), hidden


def head(units: int, seed: int = 0) -> Head:
    return Head.of("m", "s", np.random.default_rng(seed).normal(0, 1, (HIDDEN + 1, units)))


def test_a_head_moves_logits_of_the_units_that_it_is_of() -> None:
    log_probs, hidden = rows()
    of = [(0, 3, 5), (0, 2)]
    heads = [head(len(units), seed) for seed, units in enumerate(of)]
    found = Heads([*zip(of, heads, strict=True)]).log_probs(log_probs, hidden)
    assert found.shape == (5, 5)
    for start, units, one in zip((0, 3), of, heads, strict=True):
        logits = log_probs.copy()
        logits[:, units] += hidden @ one.array[:-1] + one.array[-1]
        expected = logits - np.log(np.exp(logits).sum(1, keepdims=True))
        np.testing.assert_allclose(found[:, start : start + len(units)], expected[:, units], rtol=1e-5, atol=1e-5)


def test_a_head_of_nothing_changes_nothing() -> None:
    log_probs, hidden = rows()
    nothing = Head.of("m", "s", np.zeros((HIDDEN + 1, 2)))
    np.testing.assert_allclose(Heads([((0, 4), nothing)]).log_probs(log_probs, hidden), log_probs[:, [0, 4]])


def test_what_was_never_heard_stays_impossible_and_finite_where_it_may_not_be() -> None:
    silence = np.full((1, UNITS), -np.inf)
    silence[0, 0] = 0.0
    huge = Head.of("m", "s", np.full((HIDDEN + 1, 2), 1e30))
    for one in (head(2), huge):
        found = Heads([((0, 4), one)]).log_probs(silence, np.ones((1, HIDDEN), np.float32))
        assert found[0].tolist() == [0.0, -np.inf]
    assert np.isfinite(Heads([((0, 4), huge)]).log_probs(*rows())).all()


def test_a_head_is_read_as_it_was_written() -> None:
    one = head(3)
    assert Head.from_json(one.to_json()) == one
    assert (one.hidden, one.units, one.array.shape) == (HIDDEN, 3, (HIDDEN + 1, 3))


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        (np.zeros((1, 3)), "not those of so many units"),
        (np.zeros((3, 1)), "not those of so many units"),
        (np.full((3, 2), np.nan), "not finite"),
    ],
)
def test_what_is_no_head_is_refused(weights: np.ndarray, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Head.of("m", "s", weights)


@pytest.mark.parametrize(
    "damage", [{"weights": "????"}, {"weights": 3}, {"model": None}, {"sha256": 1}, {"units": "3"}]
)
def test_a_damaged_head_is_none(damage: dict[str, object]) -> None:
    with pytest.raises((TypeError, ValueError), match="its head is"):
        Head.from_json({**head(3).to_json(), **damage})


@pytest.mark.parametrize("none", [None, [], "head", {}])
def test_what_is_something_else_is_no_head(none: object) -> None:
    with pytest.raises(TypeError, match="its head is damaged"):
        Head.from_json(none)
