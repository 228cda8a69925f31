"""The gate of a dynamic model: a network so small that it costs nothing decides when the large one is to listen.

It is trained in front of a network whose weights stay as they are. In each step of a stream it draws whether to open
(straight-through Gumbel-softmax: Jang et al. 2017, arXiv 1611.01144); where it stays closed, the search is told the
gate's own guess of blank instead of the network's log-probs, the rest of it the same for all units. What the network
hears has a price, the moments before a gate opens included, and what the search would no longer find, or find too
much, has one too: silence is worth none, and neither is the middle of a sentence, in which no word is said on its own.
"""

from __future__ import annotations

import hashlib
import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lcspeech.card import FeatureSettings, GateSettings, SearchSettings
from lcspeech.encoder import INPUT, OUTPUT
from lcspeech.gate import STATE
from lcspeech.scoring import Lattice
from lcspeech.spotter import LEADING_SECONDS
from lcspeech.train.data import Corpus
from lcspeech.train.export import onnx_of
from lcspeech.train.loop import spellings
from lcspeech.train.losses import expected_hits, false_alarm_loss
from lcspeech.train.network import Network
from lcspeech.train.run import Run
from lcspeech.train.settings import TrainSettings
from lcspeech.units import BLANK, PHONEMES

STEP_SECONDS = 0.12  # between two decisions
TEMPERATURE = 0.67  # of the relaxed draw that gradients pass through


class GateNetwork(nn.Module):
    """``forward(log_mel, state) -> (open, log_probs, state)``, all at the rate of the network behind it.

    `open` is the log-odds that the network is needed, ``[batch, time / stride]``; `log_probs` are what the search is
    told where it is not, ``[batch, time / stride, units]``.
    """

    mean: Tensor
    scale: Tensor
    spread: Tensor
    shares: Tensor

    def __init__(self, bands: int, stride: int, units: int, hidden: int, temperature: float) -> None:
        """`temperature` is that of the search: softened by it, blank is as likely as the gate thinks."""
        super().__init__()
        self.register_buffer("mean", torch.zeros(bands))
        self.register_buffer("scale", torch.ones(bands))
        self.stride, self.temperature = stride, temperature
        self.evenly = math.log(units - 1)
        self.project = nn.Conv1d(bands, hidden, stride, stride)
        self.gru = nn.GRU(hidden, hidden, batch_first=True)
        self.head = nn.Linear(hidden, 2)
        spread = torch.zeros(2, units)  # the log-odds of blank to a row: all other units are as likely as each other
        spread[0, BLANK], spread[1] = 1, 1
        spread[1, BLANK] = 0
        self.register_buffer("spread", spread)
        self.register_buffer("shares", torch.full((units,), -self.evenly).index_fill(0, torch.tensor(BLANK), 0))
        with torch.no_grad():
            self.head.bias[0] = 2.0  # open at first: what is closed teaches little

    def initial_state(self, batch: int) -> Tensor:
        return self.mean.new_zeros(batch, self.gru.hidden_size)

    def forward(self, log_mel: Tensor, state: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """``log_mel [batch, time, bands]``, time a multiple of the stride, state ``[batch, hidden]``."""
        batch, steps = log_mel.shape[0], log_mel.shape[1] // self.stride
        # As a product of matrices, a row of frames each: a graph so small costs what its nodes do
        weight = (self.project.weight * self.scale[:, None]).transpose(1, 2).flatten(1)
        x = F.linear((log_mel - self.mean).reshape(-1, weight.shape[1]), weight, self.project.bias).relu()
        x, last = self.gru(x.reshape(batch, steps, len(weight)), state[None])
        needed, blank = self.head(x.flatten(0, 1)).split(1, 1)
        blank = self.temperature * (blank + self.evenly) - self.evenly  # all other units share the rest evenly
        # -softplus is logsigmoid, which is exported as the logarithm of a sigmoid: that is too coarse near 0
        log_probs = F.linear(F.softplus(torch.cat([-blank, blank], 1)), -self.spread.T, self.shares)
        return needed.reshape(batch, steps), log_probs.reshape(batch, steps, len(self.shares)), last.squeeze(0)


def step_frames(frame_rate: int, stride: int) -> int:
    """Log-mel frames between two decisions."""
    return round(STEP_SECONDS * frame_rate / stride) * stride


def to_onnx(gate: GateNetwork) -> bytes:
    """The graph ``(log_mel [1, time, bands], state) -> (open, log_probs, state)``, `open` the log-odds."""

    gate.eval()
    graph: bytes = onnx_of(
        gate,
        (torch.zeros(1, 4 * gate.stride, len(gate.mean)), gate.initial_state(1)),
        [INPUT, STATE],
        ["open", OUTPUT, f"new_{STATE}"],
        {INPUT: {1: "time"}, "open": {1: "steps"}, OUTPUT: {1: "steps"}},
    ).SerializeToString()
    return graph


class GateTrainer(Run):
    """Trains a gate for `behind`, a trained network."""

    network: GateNetwork

    def __init__(
        self, corpus: Corpus, settings: TrainSettings, features: FeatureSettings, run_dir: Path, behind: Network
    ) -> None:
        super().__init__(corpus, settings, features, run_dir)
        step = step_frames(features.frame_rate, behind.time_stride)  # an error now, not when the gate is installed:
        GateSettings(settings.gate_hidden, step, settings.replay_frames, settings.gate_doubt)
        self.behind = behind.eval().requires_grad_(False).to(self.device)
        self.lattice = Lattice.build(spellings(corpus.words))
        self.step = step // behind.time_stride  # output frames
        network = self._build()
        network.mean.copy_(behind.mean)
        network.scale.copy_(behind.scale)
        self._ready(network)
        rows = self.batches.rows
        self.quiet = self.behind.after_silence(LEADING_SECONDS, features)  # from which it starts in use
        self.begun = (self.network.initial_state(1).to(self.device), *self.quiet)
        self.state = tuple(value.expand(rows, *value.shape[1:]).clone() for value in self.begun)

    def _build(self) -> GateNetwork:
        s, stride = self.settings, self.behind.time_stride
        return GateNetwork(self.features.n_mels, stride, len(PHONEMES), s.gate_hidden, s.temperature)

    def _losses(self, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        s = self.settings
        if s.utterance_every and self.batches.transcribed and step % s.utterance_every == 0:
            x, _, absent = self.batches.utterance_batch()
            rows = torch.randperm(self.batches.rows, generator=self.generator, device=self.device)[: len(x)]
            talk = torch.ones(len(x), dtype=torch.bool, device=self.device)
        else:
            segments, rows = self.batches.segments(), torch.arange(self.batches.rows, device=self.device)
            x, talk, absent = segments.log_mel, segments.talk, segments.absent
        reset = torch.rand(len(x), generator=self.generator, device=self.device) < s.reset_probability
        state = tuple(
            torch.where(reset.view(-1, *[1] * (v.dim() - 1)), start, v[rows])
            for start, v in zip(self.begun, self.state, strict=True)
        )
        full, known = self._full(x, state[1:])
        needed, closed, gate_state = self.network(x, state[0])
        for value, new in zip(self.state, (gate_state.detach(), *known), strict=True):
            value[rows] = new
        opened = self._draw(needed)
        closed = self._soften(closed)
        shown = (opened * full.exp() + (1 - opened) * closed.exp()).clamp(min=1e-30).log()
        hits, wanted = self._hits(shown).clamp(max=1), self._hits(full).clamp(max=1)
        changed = F.binary_cross_entropy(hits.clamp(1e-6, 1 - 1e-6), wanted, reduction="none").sum(1)
        tens = x.shape[1] / self.features.frame_rate / 10
        paid = opened if self.epoch < s.open_epochs else self._heard(opened)
        parts = {"paid": paid.mean(), "lost": changed[~talk].sum() / max(1, int((~talk).sum()))}
        parts["false_alarms"] = false_alarm_loss(hits, absent)[talk].sum() / max(1, int(talk.sum())) / tens
        parts["blank"] = F.binary_cross_entropy(closed[..., BLANK].exp(), full[..., BLANK].exp())
        beyond = (parts["paid"] - s.compute_budget).clamp(min=0)
        loss = parts["lost"] + s.false_alarm_weight * parts["false_alarms"] + s.compute_weight * beyond
        loss = loss + 0.1 * parts["blank"]
        return loss, parts

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """On the validation clips' recordings and the talk of the validation speakers, opened as in use.

        `heard_clips` and `heard_talk` are the shares of steps; `lost` is by how much the search is less sure of the
        words that were said, `gained` by how much it is less of those that were not, per clip and per 10 s of talk.
        """
        network, clips = self.averaged(), self.corpus.validation[0]
        labels, heard, lost = torch.from_numpy(clips.words), [], []
        for start in range(0, len(clips), 256):
            share, full, gated = self._both(network, torch.from_numpy(clips.log_mel[start : start + 256]))
            heard.append(share)
            wanted = labels[start : start + 256, None]
            lost.append((full.gather(1, wanted) - gated.gather(1, wanted))[:, 0])
        figures = {"heard_clips": float(torch.cat(heard).mean()), "lost": float(torch.cat(lost).mean())}
        if self.corpus.held_out:
            tens, heard, gained = 0.0, [], 0.0
            for utterance in self.corpus.held_out:
                share, full, gated = self._both(network, torch.from_numpy(utterance.log_mel)[None])
                gained += float((full - gated)[0, torch.tensor(self.batches.lacks(utterance))].sum())
                tens += len(utterance.log_mel) / self.features.frame_rate / 10
                heard.append(share * len(utterance.log_mel))
            figures["heard_talk"] = float(torch.cat(heard).sum()) / (10 * tens * self.features.frame_rate)
            figures["gained"] = gained / tens
        return {name: round(value, 4) for name, value in figures.items()}

    def score(self, figures: dict[str, float]) -> float:
        """What the loss weighs, in about the same way."""
        s, heard = self.settings, figures.get("heard_talk", figures["heard_clips"])
        beyond = s.compute_weight * max(0.0, heard - s.compute_budget)
        return s.false_alarm_weight * figures.get("gained", 0.0) - figures["lost"] - beyond

    def averaged(self, best: bool = False) -> GateNetwork:
        network = super().averaged(best)
        assert isinstance(network, GateNetwork)
        return network

    def _both(self, network: GateNetwork, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The share of steps that are heard ``[batch]``, and the hits ``[batch, words]`` without and with the gate.

        There are three steps of silence before `x`, and at least as many after it.
        """
        step = self.step * self.behind.time_stride
        around = (0, 0, 3 * step, 3 * step + -x.shape[1] % step)
        x = F.pad(x.float(), around, value=self.batches.floor).to(self.device)
        full, _ = self._full(x, tuple(value.expand(len(x), *value.shape[1:]) for value in self.quiet))
        needed, closed, _ = network(x, network.initial_state(len(x)))
        opened = self._draw(needed, noise=False)
        shown = torch.where(opened > 0, full, self._soften(closed))
        without, gated = (self._hits(value).clamp(max=1).cpu() for value in (full, shown))
        return self._heard(opened).mean(1).cpu(), without, gated

    @torch.no_grad()
    def _full(self, x: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        hidden, state = self.behind.hidden(x, state)
        return self._soften(self.behind.log_probs(hidden)), state

    def _given(self) -> str:
        weights = b"".join(value.cpu().numpy().tobytes() for value in self.behind.state_dict().values())
        return super()._given() + hashlib.sha256(weights).hexdigest()

    def _own(self) -> dict[str, Any]:
        return super()._own() | {"state": self.state}

    def _restore(self, own: dict[str, Any]) -> None:
        super()._restore(own)
        self.state = tuple(value.to(self.device) for value in own["state"])

    def _draw(self, needed: Tensor, noise: bool = True) -> Tensor:
        """Open or closed, 1 or 0, ``[batch, frames, 1]``: one decision a step, at its first frame.

        Without `noise` it is as in use, open in doubt.
        """
        first = needed[:, :: self.step]
        if noise:
            drawn = torch.rand(first.shape, generator=self.generator, device=self.device).clamp(1e-6, 1 - 1e-6)
            first = first + drawn.logit()
            soft = (first / TEMPERATURE).sigmoid()
            drawn = (first > 0).float() + soft - soft.detach()
        else:
            drawn = (first.sigmoid() >= self.settings.gate_doubt).float()
        return drawn.repeat_interleave(self.step, 1)[:, : needed.shape[1], None]

    def _heard(self, opened: Tensor) -> Tensor:
        """Which steps the network hears, now or when the gate opens soon after, 1 or 0, ``[batch, steps]``.

        What is heard for a step that is open makes that one dearer: the first of a run bears what is heard again. While
        nearly all are open, to close one gains nothing: the first epochs pay for open steps alone.
        """
        soon = self.settings.replay_frames // (self.step * self.behind.time_stride)
        return F.max_pool1d(F.pad(opened[:, :: self.step, 0], (0, soon)), soon + 1, 1)

    def _soften(self, log_probs: Tensor) -> Tensor:
        return (log_probs / self.settings.temperature).log_softmax(2)

    def _hits(self, log_probs: Tensor) -> Tensor:
        search = SearchSettings()
        return expected_hits(log_probs, self.lattice, search.blanks_before, search.blanks_after).float()
