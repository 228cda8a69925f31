"""The teacher: a large network that hears whole clips, and what it thinks of every training clip.

A student that streams learns from its closed-set posteriors, which say more than a label does: how far a "three" is
from a "free" (Hinton et al. 2015, arXiv 1503.02531). They are computed once and kept in a file. A trained spotter can
teach a smaller one, too.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from lcspeech import pretrained
from lcspeech.card import FeatureSettings
from lcspeech.errors import UsageError
from lcspeech.scoring import Lattice
from lcspeech.train.clips import BATCH, ClipTrainer
from lcspeech.train.data import Corpus
from lcspeech.train.frontends import pplcnet
from lcspeech.train.loop import read_checkpoint, spellings
from lcspeech.train.losses import sequence_log_probs
from lcspeech.train.settings import TrainSettings


class TeacherTrainer(ClipTrainer):
    """Trains a wide PP-LCNet with a GRU in both directions."""

    def __init__(self, corpus: Corpus, settings: TrainSettings, features: FeatureSettings, run_dir: Path) -> None:
        def trunk() -> torch.nn.Module:
            return pplcnet(settings.scale, features.n_mels)

        super().__init__(corpus, settings, features, run_dir, trunk, bidirectional=True)

    def write_posteriors(self, path: Path) -> None:
        """Keep the posteriors of all training clips in an npz file, by the clips' names."""
        posteriors = torch.cat([self.posteriors(clips, best=True) for clips in self.corpus.clips]).numpy()
        content = io.BytesIO()
        np.savez_compressed(
            content, names=_names(self.corpus), words=np.array(self.corpus.words), posteriors=np.float16(posteriors)
        )
        pretrained.write(path, content.getvalue())


def posteriors_of(teachers: Sequence[Path], corpus: Corpus, features: FeatureSettings) -> Tensor:
    """The mean of what several teachers think of the corpus' training clips, in their order: ``[clips, words + 1]``.

    Each is a file of posteriors (``.npz``), or a trained spotter's checkpoint.

    Raises:
        UsageError: if one is neither, or made from other data.
    """
    each = [
        read_posteriors(path, corpus) if path.suffix == ".npz" else spotter_posteriors(path, corpus, features)
        for path in teachers
    ]
    return torch.stack(each).mean(0)


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


@torch.no_grad()
def spotter_posteriors(checkpoint: Path, corpus: Corpus, features: FeatureSettings) -> Tensor:
    """What a trained spotter thinks of the corpus' training clips, in their order: ``[clips, words + 1]``.

    Each is heard twice, after 0.3 s of silence and half a stride more, so that its frames fall differently.

    Raises:
        UsageError: if it is not a checkpoint of the training loop.
    """
    network, _ = read_checkpoint(checkpoint, features)
    lattice, floor = Lattice.build([*spellings(corpus.words), [()]]), float(np.log(features.floor))
    log_mel = torch.from_numpy(np.concatenate([clips.log_mel for clips in corpus.clips]))
    length = log_mel.shape[1] + 32 + 32
    frames, result = length - length % network.time_stride, []
    for part in torch.split(log_mel, BATCH):
        crops = []
        for before in (32, 32 + network.time_stride // 2):
            x = F.pad(part.float(), (0, 0, before, 32), value=floor)[:, :frames]
            rows, _ = network(x, network.initial_state(len(x)))
            crops.append(sequence_log_probs(rows[..., : network.head.out_features], lattice).float().softmax(1))
        result.append(torch.stack(crops).mean(0))
    return torch.cat(result)


def _names(corpus: Corpus) -> NDArray[np.str_]:
    return np.array([name for clips in corpus.clips for name in clips.names])
