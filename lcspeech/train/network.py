"""The CRNN: causal PP-LCNet over log-mel, a GRU, and a CTC head over units; beside it a verifier, if it has one."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lcspeech.card import FeatureSettings, StateSpec
from lcspeech.errors import UsageError
from lcspeech.train.pplcnet import CausalPPLCNet


@dataclass(frozen=True)
class NetworkSettings:
    """A network's shape. `scale` is PP-LCNet's width, `hidden` the GRU's."""

    scale: float = 0.35
    hidden: int = 96
    dropout: float = 0.1


State = tuple[Tensor, ...]


class Verifier(nn.Module):
    """Evidence in nats for each of some words: ``[..., hidden] -> [..., words]``; see verifier.py."""

    WIDTH = 64

    def __init__(self, hidden: int, words: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.inner, self.dropout, self.head = (
            nn.Linear(hidden, self.WIDTH),
            nn.Dropout(dropout),
            nn.Linear(self.WIDTH, words),
        )

    def forward(self, x: Tensor) -> Tensor:
        evidence: Tensor = self.head(self.dropout(self.inner(x).relu()))
        return evidence


class Network(nn.Module):
    """``forward(log_mel, state) -> (rows, state)``, the same for a whole recording and for crumbs of a stream.

    A row is log-probs of the units, then, once there is a `verifier`, evidence for each known word (verifier.py), then,
    if it `shows_hidden`, the GRU's outputs, which heads of recorded words read (lcspeech/heads.py).
    """

    mean: Tensor
    scale: Tensor
    shows_hidden = False

    def __init__(self, settings: NetworkSettings, features: FeatureSettings, units: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(features.n_mels))
        self.register_buffer("scale", torch.ones(features.n_mels))
        self.trunk = CausalPPLCNet(settings.scale, features.n_mels, 1 / features.frame_rate)
        channels = self.trunk.channels
        self.collapse = nn.Conv2d(channels, channels, (1, self.trunk.bands), groups=channels, bias=False)
        self.collapse_norm = nn.BatchNorm2d(channels)
        self.gru = nn.GRU(channels, settings.hidden, batch_first=True)
        self.dropout = nn.Dropout(settings.dropout)
        self.head = nn.Linear(settings.hidden, units)
        self.verifier: Verifier | None = None
        with torch.no_grad():  # CTC's blank needs no head start: it wins early by itself and then hides the rest
            self.head.bias.zero_()

    @property
    def time_stride(self) -> int:
        """Log-mel frames per output frame."""
        return self.trunk.time_stride

    def state_specs(self) -> tuple[StateSpec, ...]:
        """Name and shape of each state of one stream, in the order of `forward`."""
        shapes = [*self.trunk.shapes, (self.gru.hidden_size,)]
        return tuple(StateSpec(f"state{i}", shape) for i, shape in enumerate(shapes))

    def initial_state(self, batch: int) -> State:
        """The state of `batch` streams that have heard nothing yet."""
        return tuple(self.mean.new_zeros(batch, *spec.shape) for spec in self.state_specs())

    def set_normalisation(self, mean: Tensor, deviation: Tensor) -> None:
        """Fix the input's mean and standard deviation per band, ``[bands]`` each, measured on training data."""
        self.mean.copy_(mean)
        self.scale.copy_(1 / deviation)

    @torch.no_grad()
    def grow_from(self, trained: Network) -> None:
        """Take over the weights of another network, of the same widths or narrower ones.

        Channels that `trained` lacks stay random, but what comes from it does not listen to them yet (Net2Net, arXiv
        1511.05641, with new units instead of copies). So the larger network computes the same at first, except where
        a block has a shortcut in one of the two and none in the other.

        Raises:
            UsageError: if `trained` is wider anywhere.
        """
        given = trained.state_dict()
        for name, values in self.state_dict().items():
            # A GRU's weights are those of three gates, one below the other
            own, old = (x.unflatten(0, (3, -1)) if name.startswith("gru.") else x[None] for x in (values, given[name]))
            if any(mine < theirs for mine, theirs in zip(own.shape, old.shape, strict=True)):
                raise UsageError(f"the network to start from is wider ('{name}'); give its scale and hidden, or more")
            if own.dim() > 2:
                own[:, : old.shape[1]] = 0.0
            own[tuple(slice(size) for size in old.shape)] = old

    def hidden(self, log_mel: Tensor, state: State) -> tuple[Tensor, State]:
        """``[batch, time, bands] -> [batch, time / 4, hidden]``: the GRU's outputs."""
        x = ((log_mel - self.mean) * self.scale)[..., None].permute(0, 3, 1, 2)
        x, states = self.trunk(x, list(state[:-1]))
        x = nn.functional.hardswish(self.collapse_norm(self.collapse(x))).permute(0, 2, 3, 1).squeeze(2)
        x, last = self.gru(x, state[-1][None])
        return x, (*states, last.squeeze(0))

    @torch.no_grad()
    def after_silence(self, seconds: float, features: FeatureSettings, batch: int = 1) -> State:
        """The state of streams that have heard so much silence, from which they start in use."""
        frames = round(seconds * features.frame_rate / self.time_stride) * self.time_stride
        silence = self.mean.new_full((1, frames, features.n_mels), math.log(features.floor))
        _, state = self.hidden(silence, self.initial_state(1))
        return tuple(value.expand(batch, *value.shape[1:]) for value in state)

    def log_probs(self, hidden: Tensor) -> Tensor:
        """``[..., hidden] -> [..., units]``, normalised."""
        logits: Tensor = self.head(self.dropout(hidden))
        return logits.log_softmax(-1)

    def forward(self, log_mel: Tensor, state: State) -> tuple[Tensor, State]:
        """``log_mel [batch, time, bands]``, time a multiple of `time_stride`; the new state follows the old's order."""
        x, state = self.hidden(log_mel, state)
        flat = x.flatten(0, 1)  # products of matrices are one node each in onnxruntime, those of rows of them three
        parts = [self.log_probs(flat)]
        if self.verifier is not None:
            parts.append(self.verifier(flat))
        if self.shows_hidden:
            parts.append(flat)
        rows = torch.cat(parts, 1) if len(parts) > 1 else parts[0]
        return rows.reshape(*x.shape[:2], rows.shape[1]), state
