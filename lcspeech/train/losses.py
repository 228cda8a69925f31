"""Losses over exact CTC scores: one head serves clips and streams."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F

from lcspeech.scoring import Lattice
from lcspeech.units import BLANK

TINY = 1e-300  # keeps the logarithm of an underflown probability finite; its gradient is then zero


def sequence_log_probs(log_probs: Tensor, lattice: Lattice) -> Tensor:
    """Log-probability that each row spells each group: ``[batch, time, units] -> [batch, groups]``, differentiable.

    The recursion runs on probabilities in double precision, which is several times faster than on logarithms and
    exact enough for clips: 1e-300 is 30 frames at 23 nats each.
    """
    labels, first, last, owner, moves = _tensors(lattice, log_probs.device)
    alpha = first.double().expand(len(log_probs), -1)
    for frame in log_probs.double().exp()[:, :, labels].unbind(1):
        alpha = _step(alpha, moves) * frame
    final = alpha[:, last] + alpha[:, (last - 1).clamp(min=0)] * (~first[last]).double()
    totals = final.new_zeros(len(final), int(lattice.owner[-1]) + 1).index_add(1, owner, final)
    return (totals + TINY).log()


def expected_hits(log_probs: Tensor, lattice: Lattice, blanks_before: int, blanks_after: int) -> Tensor:
    """Expected number of times that each row holds each group on its own: ``[batch, time, units] -> [batch, groups]``.

    This is the mass that the live search of decoder.py scores, summed over a whole stream, and differentiable: over
    speech that holds no keyword it is the expected number of false alarms. Beyond both ends all frames are blank.
    """
    labels, first, last, owner, moves = _tensors(lattice, log_probs.device)
    probs = log_probs.double().exp()
    time, outside = probs.shape[1], probs.new_ones(len(probs), max(blanks_before, blanks_after))
    blank = torch.cat([outside, probs[:, :, BLANK], outside], 1)
    shift = outside.shape[1]
    before = torch.stack([blank[:, shift - i : shift - i + time] for i in range(1, blanks_before + 1)]).prod(0)
    after = torch.stack([blank[:, shift + i : shift + i + time] for i in range(1, blanks_after + 1)]).prod(0)
    alpha, alphas = probs.new_zeros(len(probs), len(labels)), []
    for frame, begun in zip(probs[:, :, labels].unbind(1), before.unbind(1), strict=True):
        alpha = _step(torch.where(first, begun[:, None], alpha), moves) * frame
        alphas.append(alpha[:, last - 1])
    total = (torch.stack(alphas, 1) * after[:, :, None]).sum(1)
    return total.new_zeros(len(total), int(lattice.owner[-1]) + 1).index_add(1, owner, total)


def false_alarm_loss(hits: Tensor, absent: Tensor) -> Tensor:
    """How surely keywords are heard that nobody said: `hits` ``[batch, groups]`` of those `absent`, summed per row.

    Close to the number of false alarms where they are unlikely; a cross-entropy where they are sure, since there the
    number itself has no slope left.
    """
    return -torch.log1p(-0.99 * hits.clamp(max=1)).mul(absent).sum(1)


def clip_loss(scores: Tensor, targets: Tensor, ctc_weight: float) -> Tensor:
    """Mean closed-set cross-entropy and exact CTC: scores ``[batch, groups]``, target groups ``[batch]`` -> scalar."""
    exact = -scores.gather(1, targets[:, None]).mean()
    return F.cross_entropy(scores, targets) + ctc_weight * exact


def utterance_loss(log_probs: Tensor, units: Sequence[tuple[int, ...]]) -> Tensor:
    """CTC loss of whole utterances, per phoneme: log_probs ``[batch, time, units]``, what each spells -> scalar.

    What is beyond an utterance in its row is silence, and is to be heard as such.
    """
    frames = torch.full((len(units),), log_probs.shape[1])
    lengths = torch.tensor([len(spelled) for spelled in units])
    targets = torch.tensor([unit for spelled in units for unit in spelled], device=log_probs.device)
    return F.ctc_loss(log_probs.transpose(0, 1), targets, frames, lengths, zero_infinity=True)


def distillation_loss(scores: Tensor, posteriors: Tensor) -> Tensor:
    """Mean divergence of the student's closed-set posteriors from a teacher's, ``[batch, groups]`` both -> scalar.

    Whole sequences are compared, not frames: when a student spells a word is its own affair. KL(teacher || student).
    """
    return F.kl_div(scores.log_softmax(1), posteriors.to(scores.dtype), reduction="batchmean")


def _step(alpha: Tensor, moves: tuple[Tensor, ...]) -> Tensor:
    """Mass that reaches each state: by staying, from the state before, and past a blank."""
    if len(moves) == 1:
        return alpha @ moves[0]
    by_one, by_two = moves
    return alpha + F.pad(alpha[:, :-1] * by_one, (1, 0)) + F.pad(alpha[:, :-2] * by_two, (2, 0))


def _moves(first: Tensor, skip: Tensor, as_matrix: bool) -> tuple[Tensor, ...]:
    """What `_step` multiplies: which states are reached from the one before, and from two before; or one matrix."""
    by_one, by_two = (~first[1:]).double(), skip[2:].double()
    if not as_matrix:
        return by_one, by_two
    return (torch.ones_like(first, dtype=torch.float64).diag() + by_one.diag(1) + by_two.diag(2),)


@lru_cache(maxsize=8)
def _tensors(lattice: Lattice, device: torch.device) -> tuple[Tensor, Tensor, Tensor, Tensor, tuple[Tensor, ...]]:
    """The lattice's labels, first, last and owner, and its moves: a matrix on a GPU, whose time goes into launches."""
    arrays = (lattice.labels, lattice.first, lattice.last, lattice.owner, lattice.skip)
    labels, first, last, owner, skip = (torch.from_numpy(array).to(device) for array in arrays)
    return labels, first, last, owner, _moves(first, skip, as_matrix=device.type != "cpu")
