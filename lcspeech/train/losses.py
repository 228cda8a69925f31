"""Losses over exact CTC scores: one head serves clips and streams."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from lcspeech.scoring import Lattice

TINY = 1e-300  # keeps the logarithm of an underflown probability finite; its gradient is then zero


def sequence_log_probs(log_probs: Tensor, lattice: Lattice) -> Tensor:
    """Log-probability that each row spells each group: ``[batch, time, units] -> [batch, groups]``, differentiable.

    The recursion runs on probabilities in double precision, which is several times faster than on logarithms and
    exact enough for clips: 1e-300 is 30 frames at 23 nats each.
    """
    labels, first, skip, last, owner = (
        torch.from_numpy(array).to(log_probs.device)
        for array in (lattice.labels, lattice.first, lattice.skip, lattice.last, lattice.owner)
    )
    by_one, by_two = (~first[1:]).double(), skip[2:].double()
    emission = log_probs.double().exp()
    alpha = first.double().expand(len(log_probs), -1)
    for frame in emission.unbind(1):
        one = F.pad(alpha[:, :-1] * by_one, (1, 0))
        two = F.pad(alpha[:, :-2] * by_two, (2, 0))
        alpha = (alpha + one + two) * frame[:, labels]
    final = alpha[:, last] + alpha[:, (last - 1).clamp(min=0)] * (~first[last]).double()
    totals = final.new_zeros(len(final), int(owner[-1]) + 1).index_add(1, owner, final)
    return (totals + TINY).log()


def clip_loss(scores: Tensor, targets: Tensor, ctc_weight: float) -> Tensor:
    """Closed-set cross-entropy and exact CTC of clips: scores ``[batch, groups]``, target groups ``[batch] -> [batch]``."""
    exact = -scores.gather(1, targets[:, None])[:, 0]
    return F.cross_entropy(scores, targets, reduction="none") + ctc_weight * exact


def rejection_loss(scores: Tensor) -> Tensor:
    """-log(1 - probability of all groups together): ``[batch, groups] -> [batch]``."""
    total = scores.logsumexp(1).exp().clamp(max=1 - 1e-6)
    return -torch.log1p(-total)
