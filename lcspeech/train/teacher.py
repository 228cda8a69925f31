"""The teacher: a large network that sees the whole clip at once, and what it thinks of every training clip.

A student that streams learns from its closed-set posteriors, which say more than a label does: how far a "three" is
from a "free" (Hinton et al. 2015, arXiv 1503.02531). They are computed once and kept in a file.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from lcspeech import pretrained
from lcspeech.card import FeatureSettings
from lcspeech.errors import UsageError
from lcspeech.train.data import Clips, Corpus
from lcspeech.train.pplcnet import STAGES, STEM_CHANNELS, CausalPPLCNet, make_divisible
from lcspeech.train.run import Run
from lcspeech.train.settings import TrainSettings

CROPS = 5  # places of a clip in its surroundings whose posteriors are averaged
BATCH = 256  # clips at once


class Teacher(nn.Module):
    """PP-LCNet as published, strided like the student's, then a bidirectional GRU and one label for all of it."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, scale: float, hidden: int, dropout: float, bands: int, classes: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(bands))
        self.register_buffer("deviation", torch.ones(bands))
        strides = [2 if number in CausalPPLCNet.TIME_STRIDES else 1 for number in range(len(STAGES) + 1)]
        width = make_divisible(STEM_CHANNELS * scale)
        layers = [nn.Conv2d(1, width, 3, (strides[0], 2), 1, bias=False), nn.BatchNorm2d(width), nn.Hardswish()]
        for stride, stage in zip(strides[1:], STAGES, strict=True):
            outputs = make_divisible(stage.channels * scale)
            layers.append(stage.block(width, outputs, (stride, stage.stride)))
            width = outputs
        self.trunk = nn.Sequential(*layers)
        self.gru = nn.GRU(width, hidden, batch_first=True, bidirectional=True)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(2 * hidden, classes)

    def forward(self, log_mel: Tensor) -> Tensor:
        """``[batch, time, bands] -> logits [batch, classes]``: the words, then silence."""
        x = ((log_mel - self.mean) / self.deviation)[:, None].contiguous(memory_format=torch.channels_last)
        x, _ = self.gru(self.trunk(x).mean(3).transpose(1, 2))
        logits: Tensor = self.head(self.dropout(x.mean(1)))
        return logits


class TeacherTrainer(Run):
    """Trains a teacher on what its student will hear, labelled clips and silence, with cross-entropy."""

    network: Teacher

    def __init__(self, corpus: Corpus, settings: TrainSettings, features: FeatureSettings, run_dir: Path) -> None:
        super().__init__(corpus, settings, features, run_dir)
        network = self._build()
        mean, deviation = self.batches.statistics()
        network.mean.copy_(mean)
        network.deviation.copy_(deviation)
        self._ready(network)

    def _build(self) -> Teacher:
        s = self.settings
        return Teacher(s.scale, s.hidden, s.dropout, self.features.n_mels, len(self.corpus.words) + 1)

    def _losses(self, step: int) -> tuple[Tensor, dict[str, Tensor]]:  # noqa: ARG002
        segments = self.batches.segments().to(self.device)
        labelled = ~segments.talk
        with self._faster():
            logits = self.network(segments.log_mel[labelled]).float()
        loss = F.cross_entropy(logits, segments.targets[labelled])
        return loss, {"teacher": loss}

    def validate(self) -> dict[str, float]:
        """Accuracy on the validation clips, recordings and pictures apart."""
        result, names = {}, ("accuracy", "picture_accuracy")
        for name, clips in zip(names, self.corpus.validation, strict=False):
            best = self.posteriors(clips)[:, :-1].argmax(1)
            result[name] = round(float((best == torch.from_numpy(clips.words)).float().mean()), 4)
        return result

    @torch.no_grad()
    def posteriors(self, clips: Clips) -> Tensor:
        """What the averaged network thinks of each clip, ``[clips, words + 1]``, the mean over several crops."""
        network, length = self.averaged(), self.settings.segment_frames
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

    def write_posteriors(self, path: Path) -> None:
        """Keep the posteriors of all training clips in an npz file, by the clips' names."""
        posteriors = torch.cat([self.posteriors(clips) for clips in self.corpus.clips]).numpy()
        content = io.BytesIO()
        np.savez_compressed(
            content, names=_names(self.corpus), words=np.array(self.corpus.words), posteriors=np.float16(posteriors)
        )
        pretrained.write(path, content.getvalue())


def read_posteriors(path: Path, corpus: Corpus) -> Tensor:
    """A teacher's posteriors of the corpus' training clips, in their order: ``[clips, words + 1]``.

    Raises:
        UsageError: if the file is damaged, or made from other data.
    """
    try:
        with np.load(io.BytesIO(path.read_bytes())) as content:
            names, words, posteriors = content["names"], content["words"], content["posteriors"]
    except Exception as error:  # a damaged archive raises whatever its bytes provoke
        raise UsageError(f"cannot read the posteriors in '{path}': {error}; make them with train_teacher.py") from error
    row = {name: number for number, name in enumerate(names.tolist())}
    wanted = _names(corpus).tolist()
    if tuple(words.tolist()) != corpus.words or not row.keys() >= set(wanted):
        raise UsageError(f"the posteriors in '{path}' are of other clips; make them with train_teacher.py on this data")
    return torch.from_numpy(posteriors[[row[name] for name in wanted]].astype(np.float32))


def _names(corpus: Corpus) -> NDArray[np.str_]:
    return np.array([name for clips in corpus.clips for name in clips.names])
