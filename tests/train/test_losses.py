"""Losses: the same exact CTC as lcspeech.scoring and as torch, with right gradients."""

# ruff: noqa: E402
from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from lcspeech import scoring
from lcspeech.scoring import Lattice
from lcspeech.train.losses import (
    TINY,
    _moves,
    _step,
    clip_loss,
    distillation_loss,
    expected_hits,
    false_alarm_loss,
    sequence_log_probs,
)

GROUPS = [[(1, 2), (2, 1, 2)], [(3, 3)], [(2,)], [()], [(1, 1, 3), (3,), (3, 2, 1)]]


def random_log_probs(batch: int, frames: int, units: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (2 * torch.randn(batch, frames, units, generator=generator, dtype=torch.float64)).log_softmax(2)


@given(
    st.integers(0, 2**16),
    st.lists(
        st.lists(st.lists(st.integers(1, 4), max_size=4).map(tuple), min_size=1, max_size=3), min_size=1, max_size=5
    ),
)
@settings(max_examples=30, deadline=None)
def test_equals_the_runtimes_scores(seed: int, groups: list[list[tuple[int, ...]]]) -> None:
    groups = [*groups, [(1,)]]
    log_probs, lattice = random_log_probs(2, 9, 5, seed), Lattice.build(groups)
    scores = sequence_log_probs(log_probs, lattice)
    assert scores.shape == (2, len(groups))
    for row, ours in zip(log_probs, scores, strict=True):
        np.testing.assert_allclose(ours.numpy(), scoring.sequence_log_probs(row.numpy(), lattice), rtol=0, atol=1e-9)


def test_the_moves_are_the_same_as_a_matrix() -> None:
    lattice = Lattice.build(GROUPS)
    first, skip = torch.from_numpy(lattice.first), torch.from_numpy(lattice.skip)
    alpha = torch.rand(4, len(first), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    torch.testing.assert_close(*(_step(alpha, _moves(first, skip, as_matrix)) for as_matrix in (False, True)))


@pytest.mark.parametrize("sequence", [(1,), (1, 2, 3), (2, 2), (4, 4, 4), (1, 2, 1, 2)])
def test_equals_torchs_ctc_loss(sequence: tuple[int, ...]) -> None:
    log_probs = random_log_probs(3, 12, 5)
    targets = torch.tensor([sequence] * 3)
    lengths = torch.full((3,), len(sequence))
    expected = -F.ctc_loss(log_probs.transpose(0, 1), targets, torch.full((3,), 12), lengths, reduction="none")
    scores = sequence_log_probs(log_probs, Lattice.build([[sequence]]))[:, 0]
    torch.testing.assert_close(scores, expected, rtol=0, atol=1e-9)


def test_single_precision_in_double_out() -> None:
    log_probs = random_log_probs(1, 8, 5)
    scores = sequence_log_probs(log_probs.float(), Lattice.build(GROUPS))
    assert scores.dtype == torch.float64
    torch.testing.assert_close(scores, sequence_log_probs(log_probs, Lattice.build(GROUPS)), rtol=0, atol=1e-5)


def test_gradients_by_finite_differences() -> None:
    lattice = Lattice.build(GROUPS)
    logits = torch.randn(2, 5, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: sequence_log_probs(x.log_softmax(2), lattice), logits)
    targets = torch.tensor([0, 4])
    assert torch.autograd.gradcheck(
        lambda x: clip_loss(sequence_log_probs(x.log_softmax(2), lattice), targets, 0.3), logits
    )


def test_the_gradient_is_torchs() -> None:
    logits = torch.randn(1, 10, 4, dtype=torch.float64, requires_grad=True)
    (ours,) = torch.autograd.grad(sequence_log_probs(logits.log_softmax(2), Lattice.build([[(1, 3)]])).sum(), logits)
    log_probs = logits.log_softmax(2).transpose(0, 1)
    loss = F.ctc_loss(log_probs, torch.tensor([[1, 3]]), torch.tensor([10]), torch.tensor([2]), reduction="sum")
    (expected,) = torch.autograd.grad(-loss, logits)
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-9)


def test_what_cannot_be_spelled_is_finite_and_pulls_at_nothing() -> None:
    logits = torch.randn(1, 2, 4, requires_grad=True)
    score = sequence_log_probs(logits.log_softmax(2), Lattice.build([[(1, 2, 3)]]))
    assert score.item() == pytest.approx(math.log(TINY))
    score.sum().backward()
    assert logits.grad is not None
    assert not logits.grad.any()


def test_thirty_poor_frames_do_not_underflow() -> None:
    log_probs = torch.full((1, 30, 2), -22.0)
    scores = sequence_log_probs(log_probs, Lattice.build([[()], [(1,)]]))
    assert scores[0, 0].item() == pytest.approx(-22.0 * 30)


def test_clip_loss_by_value() -> None:
    scores, targets = torch.tensor([[0.5, 0.2, 0.1], [0.2, 0.1, 0.1]]).log(), torch.tensor([0, 2])
    closed_set = (math.log(8 / 5) + math.log(4)) / 2
    exact = (-math.log(0.5) - math.log(0.1)) / 2
    assert clip_loss(scores, targets, 0.3).shape == ()
    assert clip_loss(scores, targets, 0.3).item() == pytest.approx(closed_set + 0.3 * exact, rel=1e-5)
    assert clip_loss(scores, targets, 0.0).item() == pytest.approx(closed_set, rel=1e-5)


def hits_by_enumeration(p: Tensor, sequence: tuple[int, ...], before: int, after: int) -> float:
    """Sum over all stretches of frames that spell `sequence` from first to last, with blanks on both sides."""
    frames, units = p.shape
    blank = [p[t, 0].item() if 0 <= t < frames else 1.0 for t in range(-before, frames + after)]
    total = 0.0
    for start, end in itertools.combinations(range(frames + 1), 2):
        around = math.prod(blank[start : start + before]) * math.prod(blank[before + end : before + end + after])
        for path in itertools.product(range(units), repeat=end - start):
            spelled = tuple(unit for unit, _ in itertools.groupby(path) if unit != 0)
            if spelled == sequence and path[0] != 0 and path[-1] != 0:
                total += around * math.prod(p[start + i, unit].item() for i, unit in enumerate(path))
    return total


@pytest.mark.parametrize(("before", "after"), [(2, 3), (1, 1), (3, 1)])
def test_expected_hits_by_enumeration(before: int, after: int) -> None:
    groups = [[(1, 2), (3,)], [(2, 2)], [(1,)], [(3, 1, 3)]]
    log_probs = random_log_probs(2, 5, 4)
    hits = expected_hits(log_probs, Lattice.build(groups), before, after)
    expected = [
        [sum(hits_by_enumeration(row, sequence, before, after) for sequence in group) for group in groups]
        for row in log_probs.exp()
    ]
    torch.testing.assert_close(hits, torch.tensor(expected, dtype=torch.float64), rtol=1e-9, atol=0)


def certain(path: list[int]) -> Tensor:
    """Log-probs ``[1, time, 4]`` that are all but certain of one path."""
    p = torch.full((1, len(path), 4), 1e-6, dtype=torch.float64)
    p[0, range(len(path)), path] = 1 - 3e-6
    return p.log()


@pytest.mark.parametrize(
    ("path", "hits"),
    [
        ([0, 0, 1, 2, 0, 0, 0], 1.0),
        ([0, 0, 1, 1, 0, 2, 2, 0, 0, 0, 0], 1.0),
        ([1, 2], 1.0),  # both ends of the row count as blank
        ([1, 2, 0, 0, 0, 1, 0, 2, 0, 0, 0], 2.0),
        ([1, 2, 0, 1, 2], 0.0),  # too close: part of something longer
        ([3, 0, 1, 2, 0, 0, 0], 0.0),
        ([0, 0, 1, 2, 0, 0, 3], 0.0),
        ([0, 0, 1, 3, 2, 0, 0], 0.0),
        ([0, 0, 0, 0], 0.0),
    ],
)
def test_expected_hits_count_words_on_their_own(path: list[int], hits: float) -> None:
    found = expected_hits(certain(path), Lattice.build([[(1, 2)]]), 2, 3)
    assert found.tolist() == [[pytest.approx(hits, abs=1e-3)]]


def test_expected_hits_by_finite_differences() -> None:
    lattice = Lattice.build([[(1, 2), (3,)], [(2, 2)]])
    logits = torch.randn(1, 5, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: expected_hits(x.log_softmax(2), lattice, 2, 3), logits)


def test_distillation_is_the_divergence_of_the_posteriors() -> None:
    scores = torch.tensor([[0.0, 0.0, 5.0], [1.0, 4.0, -2.0]], dtype=torch.float64)
    p = torch.tensor([0.2, 0.8, 0.0])  # a teacher that is sure of what a word is not
    first = float((p[:2] * (p[:2] / scores[0].softmax(0)[:2]).log()).sum())
    posteriors = torch.stack([p.double(), (scores[1] + 7).softmax(0)])  # a constant does not show in the second
    assert distillation_loss(scores, posteriors).item() == pytest.approx(first / 2, rel=1e-6)


def test_false_alarms_count_absent_words_only() -> None:
    hits = torch.tensor([[0.001, 0.5, 0.9], [0.0, 0.0, 2.0]])
    absent = torch.tensor([[True, False, True], [True, True, True]])
    expected = [-math.log(1 - 0.99 * 0.001) - math.log(1 - 0.99 * 0.9), -math.log(0.01)]
    assert false_alarm_loss(hits, absent).tolist() == pytest.approx(expected, rel=1e-5)


def test_a_sure_false_alarm_still_has_a_slope() -> None:
    logit = torch.tensor([[6.0]], requires_grad=True)
    false_alarm_loss(logit.sigmoid(), torch.tensor([[True]])).sum().backward()
    assert logit.grad is not None
    assert logit.grad.item() > 0.15  # of its number alone: 0.0025
