"""One training in one folder: epochs of steps, a running average of the weights, checkpoints that resume to the bit.

Under torchrun each process has its share of a batch's rows, with random draws of its own.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import OneCycleLR

from lcspeech import pretrained
from lcspeech.card import FeatureSettings
from lcspeech.errors import UsageError
from lcspeech.evaluation.speed import processor
from lcspeech.train.batches import Batches
from lcspeech.train.data import Corpus
from lcspeech.train.distributed import average, average_gradients, gather, own_device, processes, rank
from lcspeech.train.muon import Muon, matrices
from lcspeech.train.settings import TrainSettings

CHECKPOINT = "checkpoint.pt"
LOG = "log.jsonl"


def save(content: dict[str, Any], checkpoint: Path) -> None:
    """Write a checkpoint to a temporary name, then rename: what is killed never leaves half a file.

    Raises:
        OSError: if it cannot be written, on a full disk, say.
    """
    packed = io.BytesIO()
    torch.save(content, packed)
    pretrained.write(checkpoint, packed.getvalue())


class Run(ABC):
    """What all trainings share. A subclass brings the network, the losses of a step and the validation."""

    network: nn.Module

    def __init__(self, corpus: Corpus, settings: TrainSettings, features: FeatureSettings, run_dir: Path) -> None:
        """A subclass builds its network next, and ends with `_ready`."""
        torch.set_flush_denormal(True)
        torch.set_num_threads(max(1, settings.threads // processes()))
        torch.manual_seed(settings.seed)
        self.corpus, self.settings, self.features, self.run_dir = corpus, settings, features, run_dir
        run_dir.mkdir(parents=True, exist_ok=True)
        self.device = own_device()
        self.generator = torch.Generator(self.device).manual_seed(settings.seed + rank())
        self.batches = Batches(corpus, settings, features, self.generator)
        self.steps = settings.epochs * settings.steps_per_epoch
        self.epoch = 0
        self.best: dict[str, Any] = {"score": -math.inf}  # the averaged weights of the best epoch

    def _ready(self, network: nn.Module, **beside: nn.Module) -> None:
        """Makes what follows from the weights; those `beside` the network are trained too, but are not part of it."""
        self.network = network.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.beside = {name: module.to(self.device) for name, module in beside.items()}
        self.average = {key: value.clone() for key, value in network.state_dict().items()}
        s, self.parameters = self.settings, [p for m in (network, *beside.values()) for p in m.parameters()]
        own = matrices(network) if s.matrix_learning_rate else {}
        others = [parameter for parameter in self.parameters if parameter not in own]
        adam = torch.optim.AdamW(others, s.learning_rate, weight_decay=s.weight_decay, fused=True)
        self.optimisers = [adam, *([Muon(own, s.matrix_learning_rate, s.weight_decay)] if own else [])]
        self.schedules = [OneCycleLR(o, o.defaults["lr"], self.steps, pct_start=0.01) for o in self.optimisers]
        torch.manual_seed(s.seed + rank())  # dropout's draws; the weights' are behind, the same everywhere

    @abstractmethod
    def _build(self) -> nn.Module:
        """The network with random weights."""

    @abstractmethod
    def _losses(self, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """What step number `step` of this epoch is to lower, and the parts of it that the log shows."""

    @abstractmethod
    def validate(self) -> dict[str, float]:
        """Figures of the averaged network for the log."""

    def score(self, figures: dict[str, float]) -> float:
        """How good an epoch with such `figures` is; the weights of the best one are what a run gives."""
        return figures["accuracy"]

    def _train_mode(self) -> None:
        """Prepares the modules for the epoch that begins."""
        self.network.train()

    def _own(self) -> dict[str, Any]:
        """What this process has of its own and a checkpoint keeps."""
        own = {"generator": self.generator.get_state(), "torch_generator": torch.get_rng_state()}  # dropout's
        return own | ({"cuda_generator": torch.cuda.get_rng_state()} if self.device.type == "cuda" else {})

    def _given(self) -> str:
        """What it learns from beside the corpus' sources, as one text that a resumed run must have too."""
        heard = hashlib.sha256()
        for utterance in self.corpus.synthetic:
            heard.update(repr((utterance.speaker, utterance.units, len(utterance.log_mel))).encode())
        return heard.hexdigest()

    def _restore(self, own: dict[str, Any]) -> None:
        """Takes over what `_own` gave."""
        self.generator.set_state(own["generator"])
        torch.set_rng_state(own["torch_generator"])
        if self.device.type == "cuda" and "cuda_generator" in own:
            torch.cuda.set_rng_state(own["cuda_generator"])

    def _faster(self) -> torch.autocast:
        """Mixed precision where a GPU computes; what is computed within is to be made float32 again."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda")

    @property
    def steps_done(self) -> int:
        """Steps in the epochs that are behind."""
        return self.epoch * self.settings.steps_per_epoch

    def run(self, on_step: Callable[[], None] = lambda: None) -> nn.Module:
        """Train the epochs that are left, with a checkpoint and a log line after each; returns the best one's network.

        Under torchrun it is process 0 that knows it.
        """
        if not self.epoch and rank() == 0:
            self._drop_log_lines_after(0)  # of another run in this folder
        while self.epoch < self.settings.epochs:
            started = time.monotonic()
            totals: dict[str, list[float]] = {}
            self._train_mode()
            self.batches.masks = self.settings.masks if self.epoch < self.settings.mask_epochs else 0
            for step in range(self.settings.steps_per_epoch):
                for name, value in self._step(step).items():
                    totals.setdefault(name, []).append(value)
                on_step()
            self.epoch += 1
            average([value for value in self.network.buffers() if value.is_floating_point()])  # norms' statistics
            if rank() == 0:
                line: dict[str, Any] = {"epoch": self.epoch, "seconds": round(time.monotonic() - started, 1)}
                line |= {name: round(float(np.mean(values)), 4) for name, values in totals.items()}
                figures = self.validate()
                score = self.score(figures)
                score = score if math.isfinite(score) else -math.inf  # what has diverged is the worst, and still there
                if score >= self.best["score"]:
                    average_now = {key: value.clone() for key, value in self.average.items()}
                    self.best = {"score": score, "epoch": self.epoch, "average": average_now}
                line |= figures | {"machine": processor()}
                with (self.run_dir / LOG).open("a") as log:
                    log.write(json.dumps(line) + "\n")
            self.save()  # after its line: resuming drops lines that no checkpoint follows
        return self.averaged(best=True)

    def _step(self, step: int) -> dict[str, float]:
        loss, parts = self._losses(step)
        for optimiser in self.optimisers:
            optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        average_gradients(self.parameters)
        nn.utils.clip_grad_norm_(self.network.parameters(), self.settings.gradient_clip)
        for optimiser in self.optimisers:
            optimiser.step()
        for schedule in self.schedules:
            schedule.step()
        # A young average leans on the newest weights, or it would remember the random ones for long
        done = self.steps_done + step
        weights = {k: v for k, v in self.network.state_dict().items() if v.is_floating_point()}
        old = [self.average[key] for key in weights]
        torch._foreach_lerp_(old, [*weights.values()], 1 - min(self.settings.average, (done + 1) / (done + 10)))
        return {name: float(value.detach()) for name, value in parts.items()}

    def averaged(self, best: bool = False) -> nn.Module:
        """The network with averaged weights, those of now or of the best epoch, ready to run."""
        network = self._build().to(self.device)
        network.load_state_dict(self.best.get("average", self.average) if best else self.average)
        return network.eval()

    def save(self) -> None:
        """Write the checkpoint."""
        own_of_each = gather(self._own())
        if rank() != 0:
            return
        content = {
            "network": self.network.state_dict(),
            **{name: module.state_dict() for name, module in self.beside.items()},
            "average": self.average,
            "best": self.best,
            "optimisers": [optimiser.state_dict() for optimiser in self.optimisers],
            "schedules": [schedule.state_dict() for schedule in self.schedules],
            "processes": own_of_each,
            "epoch": self.epoch,
            "settings": dataclasses.asdict(self.settings),
            "words": self.corpus.words,
            "sources": [dataclasses.asdict(source) for source in self.corpus.sources],
            "given": self._given(),
            "device": self.device.type,
        }
        save(content, self.run_dir / CHECKPOINT)

    def resume(self) -> None:
        """Continue from the run folder's checkpoint.

        Raises:
            UsageError: if there is none, or it was made with other settings or words.
        """
        path = self.run_dir / CHECKPOINT
        if not path.exists():
            raise UsageError(f"nothing to resume: no '{path}'")
        try:
            content = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # torch.load raises whatever the bytes provoke
            raise UsageError(f"'{path}' is damaged; start again without --resume") from error
        own = dataclasses.asdict(self.settings)
        saved = content["settings"]
        other = [name for name in own.keys() | saved.keys() if own.get(name) != saved.get(name)]
        sources = [dataclasses.asdict(source) for source in self.corpus.sources]
        if content["words"] != self.corpus.words or content["sources"] != sources:
            other.append("data")
        elif content.get("given", given := self._given()) != given:
            other.append("network behind the gate, teacher, aligner or synthetic speech")
        if other:
            changed = ", ".join(sorted(other))
            raise UsageError(f"'{path}' was made with other {changed}; resume with the same, or use a new folder")
        if len(content["processes"]) != processes():
            raise UsageError(f"'{path}' was made by {len(content['processes'])} processes; resume with as many")
        if content.get("device", self.device.type) != self.device.type:
            raise UsageError(f"'{path}' was made on a device of kind '{content['device']}'; resume on such a one")
        self.network.load_state_dict(content["network"])
        for name, module in self.beside.items():
            module.load_state_dict(content[name])
        self.average = {key: value.to(self.device) for key, value in content["average"].items()}
        for optimiser, saved in zip(self.optimisers, content["optimisers"], strict=True):
            optimiser.load_state_dict(saved)
        for schedule, saved in zip(self.schedules, content["schedules"], strict=True):
            schedule.load_state_dict(saved)
        self._restore(content["processes"][rank()])
        self.epoch, self.best = content["epoch"], content["best"]
        if rank() == 0:
            self._drop_log_lines_after(self.epoch)

    def _drop_log_lines_after(self, epoch: int) -> None:
        log = self.run_dir / LOG
        lines = log.read_text().splitlines() if log.exists() else []
        log.write_text("".join(f"{line}\n" for line in lines[:epoch]))  # one line an epoch
