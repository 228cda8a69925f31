"""Networks that label whole clips: a front end, a GRU, and one label for all of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lcspeech.card import FeatureSettings
from lcspeech.train.data import Clips, Corpus
from lcspeech.train.run import Run
from lcspeech.train.settings import TrainSettings

CROPS = 5  # places of a clip in its surroundings whose posteriors are averaged
BATCH = 256  # clips at once


class ClipNetwork(nn.Module):
    """``log_mel [batch, time, bands] -> logits [batch, classes]``; `trunk` is one of frontends.py."""

    mean: Tensor
    scale: Tensor

    def __init__(
        self, trunk: nn.Module, hidden: int, dropout: float, bands: int, classes: int, bidirectional: bool = False
    ) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(bands))
        self.register_buffer("scale", torch.ones(bands))
        self.trunk = trunk
        with torch.no_grad():
            channels = trunk.eval()(torch.zeros(1, 1, 8, bands)).shape[1]
        self.gru = nn.GRU(channels, hidden, batch_first=True, bidirectional=bidirectional)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(hidden * (2 if bidirectional else 1), classes)

    def forward(self, log_mel: Tensor) -> Tensor:
        x = ((log_mel - self.mean) * self.scale)[:, None].contiguous(memory_format=torch.channels_last)
        x, _ = self.gru(self.trunk(x).mean(3).transpose(1, 2))
        logits: Tensor = self.head(self.dropout(x.mean(1)))
        return logits


class ClipTrainer(Run):
    """Trains such a network on the labelled rows that a spotter would hear, clips and silence, with cross-entropy."""

    network: ClipNetwork

    def __init__(
        self,
        corpus: Corpus,
        settings: TrainSettings,
        features: FeatureSettings,
        run_dir: Path,
        trunk: Callable[[], nn.Module],
        bidirectional: bool = False,
    ) -> None:
        """`trunk` makes the front end with random weights."""
        super().__init__(corpus, settings, features, run_dir)
        self._trunk, self._bidirectional = trunk, bidirectional
        network = self._build()
        mean, deviation = self.batches.statistics()
        network.mean.copy_(mean)
        network.scale.copy_(1 / deviation)
        self._ready(network)

    def _build(self) -> ClipNetwork:
        s, classes = self.settings, len(self.corpus.words) + 1
        return ClipNetwork(self._trunk(), s.hidden, s.dropout, self.features.n_mels, classes, self._bidirectional)

    def averaged(self, best: bool = False) -> ClipNetwork:
        network = super().averaged(best)
        assert isinstance(network, ClipNetwork)
        return network

    def _losses(self, step: int) -> tuple[Tensor, dict[str, Tensor]]:  # noqa: ARG002
        segments = self.batches.segments()
        labelled = ~segments.talk
        with self._faster():
            logits = self.network(segments.log_mel[labelled]).float()
        loss = F.cross_entropy(logits, segments.targets[labelled])
        return loss, {"pooled": loss}

    def validate(self) -> dict[str, float]:
        """Accuracy on the validation clips, recordings and pictures apart."""
        result, names = {}, ("accuracy", "picture_accuracy")
        for name, clips in zip(names, self.corpus.validation, strict=False):
            best = self.posteriors(clips)[:, :-1].argmax(1)
            result[name] = round(float((best == torch.from_numpy(clips.words)).float().mean()), 4)
        return result

    @torch.no_grad()
    def posteriors(self, clips: Clips, best: bool = False) -> Tensor:
        """What the averaged network thinks of each clip, ``[clips, words + 1]``, the mean over several crops."""
        network, length = self.averaged(best), self.settings.segment_frames
        spare = length - clips.log_mel.shape[1]
        result = []
        for start in range(0, len(clips), BATCH):
            x = torch.from_numpy(clips.log_mel[start : start + BATCH]).float().to(self.device)
            total = torch.zeros(len(x), len(self.corpus.words) + 1)
            for crop in range(CROPS):
                before = spare * crop // (CROPS - 1)
                crop_of = F.pad(x, (0, 0, before, spare - before), value=self.batches.floor)
                total += network(crop_of).softmax(1).cpu()
            result.append(total / CROPS)
        return torch.cat(result)
