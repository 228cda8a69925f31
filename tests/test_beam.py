"""Prefix beam search held to the exact probability of every sequence."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from lcspeech.beam import likeliest_sequences
from lcspeech.scoring import Lattice, sequence_log_probs


def log_probs(seed: int, frames: int, units: int) -> np.ndarray:
    logits = 2 * np.random.default_rng(seed).standard_normal((frames, units))
    return logits - np.log(np.exp(logits).sum(1, keepdims=True))


@pytest.mark.parametrize("seed", range(8))
def test_the_likeliest_are_those_of_all_sequences(seed: int) -> None:
    x = log_probs(seed, 4, 3)
    every = [s for n in range(5) for s in itertools.product((1, 2), repeat=n)]
    exact = sequence_log_probs(x, Lattice.build([[s] for s in every]))
    ranked = [every[i] for i in np.argsort(-exact)]
    assert likeliest_sequences(x, 4) == tuple(ranked[:4])


def test_a_unit_twice_in_a_row_needs_a_blank_between() -> None:
    sure = np.log(np.full((5, 3), 0.01))
    for frame, unit in enumerate((1, 0, 1, 1, 2)):
        sure[frame, unit] = np.log(0.98)
    assert likeliest_sequences(sure, 1) == ((1, 1, 2),)


def test_nothing_is_the_empty_sequence() -> None:
    quiet = np.log(np.array([[0.9998, 0.0001, 0.0001]] * 3000))  # far longer than probabilities could be multiplied
    assert likeliest_sequences(quiet, 1)[0] == ()
    assert likeliest_sequences(np.empty((0, 3)), 3) == ((),)


def test_a_bonus_makes_sequences_of_such_units_rank_higher() -> None:
    x = np.log(np.array([[0.6, 0.3, 0.1], [0.7, 0.2, 0.1], [0.5, 0.1, 0.4]]))
    assert likeliest_sequences(x, 1)[0] == (2,)
    assert likeliest_sequences(x, 1, np.array([0.0, 1.5, 0.0]))[0] == (1,)
    assert likeliest_sequences(x, 1, np.array([0.0, 1.5, 1.5]))[0] == (1, 2)
    assert set(likeliest_sequences(x, 9)) == set(likeliest_sequences(x, 9, np.ones(3)))
