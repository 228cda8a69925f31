"""The training loop: streams of clips and utterances in, an averaged network out; a killed run resumes to the bit."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lcspeech.card import FeatureSettings
from lcspeech.errors import UsageError
from lcspeech.scoring import Lattice
from lcspeech.train import augment
from lcspeech.train.data import Corpus, Utterance, pronunciations
from lcspeech.train.losses import clip_loss, rejection_loss, sequence_log_probs
from lcspeech.train.network import Network, NetworkSettings, State
from lcspeech.train.settings import TrainSettings
from lcspeech.units import PHONEMES

CHECKPOINT = "checkpoint.pt"
REJECT = -1  # the target of a row that must not spell any known word


def word_lattice(words: tuple[str, ...]) -> Lattice:
    """All words by their pronunciations, then silence as the last group."""
    missing = [word for word in words if not pronunciations(word)]
    if missing:
        raise UsageError(f"no pronunciation of '{missing[0]}' in CMUdict; leave its folder out")
    return Lattice.build([*([PHONEMES.encode(p) for p in pronunciations(word)] for word in words), [()]])


class Batches:
    """Draws batches; all randomness comes from `generator`."""

    def __init__(self, corpus: Corpus, settings: TrainSettings, features: FeatureSettings, generator: torch.Generator):
        self.settings, self.generator = settings, generator
        self.floor = float(np.log(features.floor))
        self.features = torch.from_numpy(np.concatenate([clips.log_mel for clips in corpus.clips]))
        self.words = torch.from_numpy(np.concatenate([clips.words for clips in corpus.clips]))
        self.silence = len(corpus.words)
        shares = (1.0, settings.picture_share)
        share = torch.cat([torch.full((len(c),), s) for c, s in zip(corpus.clips, shares, strict=False)])
        # Between counting every clip once (rare words are never learned) and every word once (they are overfitted)
        amount = torch.zeros(len(corpus.words)).index_add(0, self.words, share)
        self.weights = share * amount.clamp(min=1).rsqrt()[self.words]
        self.noise = torch.from_numpy(corpus.noise)
        self.utterances = corpus.utterances
        self.transcribed = [i for i, u in enumerate(corpus.utterances) if u.units is not None]
        plain = [u.log_mel for u in corpus.utterances if not set(u.words) & set(corpus.words)]
        self.speech = torch.from_numpy(np.concatenate(plain)) if plain else None
        self.plain = [not set(u.words) & set(corpus.words) for u in corpus.utterances]

    def clips(self) -> tuple[Tensor, Tensor]:
        """Log-mel ``[batch, segment_frames, bands]`` and targets ``[batch]``: word, silence or `REJECT`."""
        s, g = self.settings, self.generator
        chosen = torch.multinomial(self.weights, s.batch, replacement=True, generator=g)
        targets = self.words[chosen]
        x = augment.stretch(self.features[chosen].float(), s.speed, g)
        x = augment.place(x, s.segment_frames, self.floor, g)
        draw = torch.rand(s.batch, generator=g)
        silent = draw < s.silence_share
        x[silent], targets[silent] = self.floor, self.silence
        if self.speech is not None:
            talk = (draw >= s.silence_share) & (draw < s.silence_share + s.speech_share)
            x[talk], targets[talk] = self._windows(self.speech, int(talk.sum()), s.segment_frames), REJECT
        return self._augment(x), targets

    def utterance_batch(self) -> tuple[Tensor, list[Utterance], Tensor]:
        """Log-mel padded to one length ``[batch, frames, bands]``, the utterances, and which hold no known word."""
        s, g = self.settings, self.generator
        drawn = torch.randint(len(self.transcribed), (s.utterance_batch,), generator=g).tolist()
        rows = [self.transcribed[i] for i in drawn]
        chosen = [self.utterances[i] for i in rows]
        frames = max(len(u.log_mel) for u in chosen) // 4 * 4 + 4
        x = torch.full((len(chosen), frames, self.features.shape[2]), self.floor)
        for row, utterance in zip(x, chosen, strict=True):
            row[: len(utterance.log_mel)] = torch.from_numpy(utterance.log_mel)
        return self._augment(x), chosen, torch.tensor([self.plain[i] for i in rows])

    def _augment(self, x: Tensor) -> Tensor:
        s, g = self.settings, self.generator
        noise = self._windows(self.noise, len(x), x.shape[1])
        noise = augment.colour(noise, s.gain_db, s.tilt_db, self.floor, g)
        # A row of digital silence has no level to set the noise against: there the noise is heard as it is
        empty = (x.amax((1, 2)) <= self.floor + 1e-3)[:, None, None]
        heard = torch.rand(len(x), 1, 1, generator=g) < s.noise_probability
        mixed = augment.mix(x, noise, (s.snr_db[0], s.snr_db[1]), s.noise_probability, g)
        x = torch.where(empty, torch.where(heard, noise, x), mixed)
        x = augment.colour(x, s.gain_db, s.tilt_db, self.floor, g)
        return augment.spec_augment(x, s.masks, s.mask_frames, s.mask_bands, g)

    def _windows(self, source: Tensor, rows: int, frames: int) -> Tensor:
        start = torch.randint(max(1, len(source) - frames), (rows, 1), generator=self.generator)
        return source[(start + torch.arange(frames)) % len(source)].float()


class Trainer:
    """One run in one folder: `run` trains to the end, from the checkpoint there if it resumes."""

    def __init__(self, corpus: Corpus, settings: TrainSettings, features: FeatureSettings, run_dir: Path) -> None:
        torch.set_flush_denormal(True)
        torch.set_num_threads(settings.threads)
        torch.manual_seed(settings.seed)
        self.corpus, self.settings, self.features, self.run_dir = corpus, settings, features, run_dir
        self.generator = torch.Generator().manual_seed(settings.seed)
        self.batches = Batches(corpus, settings, features, self.generator)
        self.lattice = word_lattice(corpus.words)
        self.network = Network(
            NetworkSettings(settings.scale, settings.hidden, settings.dropout), features, len(PHONEMES)
        )
        sample = self.batches.features[:: max(1, len(self.batches.features) // 2000)].float().flatten(0, 1)
        self.network.set_normalisation(sample.mean(0), sample.std(0))
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.pooled = nn.Linear(settings.hidden, len(corpus.words) + 1)  # words and silence; not part of the model
        self.average = {key: value.clone() for key, value in self.network.state_dict().items()}
        parameters = [*self.network.parameters(), *self.pooled.parameters()]
        self.optimiser = torch.optim.AdamW(parameters, settings.learning_rate, weight_decay=settings.weight_decay)
        steps = settings.epochs * settings.steps_per_epoch
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(self.optimiser, settings.learning_rate, steps, pct_start=0.2)
        self.state = self.network.initial_state(settings.batch)
        self.epoch = 0

    def run(self, on_step: Callable[[], None] = lambda: None) -> Network:
        """Train the epochs that are left, with a checkpoint and a log line after each; returns the averaged network."""
        while self.epoch < self.settings.epochs:
            started = time.monotonic()
            totals: dict[str, list[float]] = {}
            self.network.train()
            for step in range(self.settings.steps_per_epoch):
                for name, value in self._step(step).items():
                    totals.setdefault(name, []).append(value)
                on_step()
            self.epoch += 1
            line: dict[str, Any] = {"epoch": self.epoch, "seconds": round(time.monotonic() - started, 1)}
            line |= {name: round(float(np.mean(values)), 4) for name, values in totals.items()}
            line |= self.validate()
            self.save()
            with (self.run_dir / "log.jsonl").open("a") as log:
                log.write(json.dumps(line) + "\n")
        return self.averaged()

    def _step(self, step: int) -> dict[str, float]:
        s = self.settings
        ramp = min(1.0, max(0.0, (self.epoch + step / s.steps_per_epoch - s.warmup_epochs) / max(1, s.ramp_epochs)))
        x, targets = self.batches.clips()
        reset = torch.rand(s.batch, generator=self.generator) < s.reset_probability
        start = tuple(torch.where(reset.view(-1, *[1] * (v.dim() - 1)), 0.0, v) for v in self.state)
        hidden, state = self.network.hidden(x, start)
        self.state = tuple(value.detach() for value in state)
        parts = {"pooled": F.cross_entropy(self.pooled(hidden.mean(1)), targets, ignore_index=REJECT)}
        loss = (1 - ramp * (1 - s.pooled_weight)) * parts["pooled"]
        if ramp > 0:
            scores = sequence_log_probs(self.network.log_probs(hidden), self.lattice)
            known = clip_loss(scores, targets.clamp(min=0), s.ctc_weight)
            parts["clips"] = torch.where(targets == REJECT, rejection_loss(scores[:, :-1]), known).mean().float()
            loss = loss + ramp * parts["clips"]
            if s.utterance_every and self.batches.transcribed and step % s.utterance_every == 0:
                parts["utterances"], parts["rejection"] = self._utterances()
                weighted = s.utterance_weight * parts["utterances"] + s.rejection_weight * parts["rejection"]
                loss = loss + ramp * weighted
        self.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.network.parameters(), s.gradient_clip)
        self.optimiser.step()
        self.schedule.step()
        for key, value in self.network.state_dict().items():
            if value.is_floating_point():
                # A young average leans on the newest weights, or it would remember the random ones for long
                done = self.epoch * s.steps_per_epoch + step
                self.average[key].lerp_(value, 1 - min(s.average, (done + 1) / (done + 10)))
        return {name: float(value.detach()) for name, value in parts.items()}

    def _utterances(self) -> tuple[Tensor, Tensor]:
        """CTC loss per phoneme of a batch of utterances, and the loss of windows that must not spell a known word."""
        x, utterances, plain = self.batches.utterance_batch()
        log_probs, _ = self.network(x, tuple(value[: len(x)] for value in self.state))
        frames = torch.tensor([len(u.log_mel) // self.network.time_stride for u in utterances])
        units = [torch.tensor(u.units) for u in utterances]
        lengths = torch.tensor([len(u) for u in units])
        ctc = F.ctc_loss(log_probs.transpose(0, 1), torch.cat(units), frames, lengths, zero_infinity=True)
        if not plain.any():
            return ctc, ctc.new_zeros(())
        rows = plain.nonzero()[:, 0].repeat_interleave(4)
        width = int(torch.randint(8, 31, (1,), generator=self.generator))
        start = (torch.rand(len(rows), generator=self.generator) * (frames[rows] - width).clamp(min=1)).long()
        windows = log_probs[rows[:, None], start[:, None] + torch.arange(width)]
        return ctc, rejection_loss(sequence_log_probs(windows, self.lattice)[:, :-1]).mean().float()

    def averaged(self) -> Network:
        """The network with averaged weights, ready to run."""
        s = self.settings
        network = Network(NetworkSettings(s.scale, s.hidden, s.dropout), self.features, len(PHONEMES))
        network.load_state_dict(self.average)
        return network.eval()

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Closed-set accuracy on the validation clips, recordings and pictures apart, each with 0.3 s of silence after."""
        network, result = self.averaged(), {}
        for name, clips in zip(("accuracy", "picture_accuracy"), self.corpus.validation, strict=False):
            correct = 0
            for start in range(0, len(clips), 256):
                x = torch.from_numpy(clips.log_mel[start : start + 256]).float()
                x = F.pad(x, (0, 0, 0, 30), value=self.batches.floor)
                log_probs, _ = network(x, network.initial_state(len(x)))
                best = sequence_log_probs(log_probs, self.lattice)[:, :-1].argmax(1)
                correct += int((best == torch.from_numpy(clips.words[start : start + 256])).sum())
            result[name] = round(correct / max(1, len(clips)), 4)
        return result

    def save(self) -> None:
        """Write the checkpoint to a temporary name, then rename: a killed run never leaves half a file."""
        content = {
            "network": self.network.state_dict(),
            "pooled": self.pooled.state_dict(),
            "average": self.average,
            "optimiser": self.optimiser.state_dict(),
            "schedule": self.schedule.state_dict(),
            "generator": self.generator.get_state(),
            "torch_generator": torch.get_rng_state(),  # dropout draws from it
            "state": self.state,
            "epoch": self.epoch,
            "settings": dataclasses.asdict(self.settings),
            "words": self.corpus.words,
        }
        temporary = self.run_dir / f"{CHECKPOINT}.tmp"
        torch.save(content, temporary)
        temporary.replace(self.run_dir / CHECKPOINT)

    def resume(self) -> None:
        """Continue from the run folder's checkpoint.

        Raises:
            UsageError: if there is none, or it was made with other settings or words.
        """
        path = self.run_dir / CHECKPOINT
        if not path.exists():
            raise UsageError(f"nothing to resume: no '{path}'")
        content = torch.load(path, weights_only=True)
        if content["settings"] != dataclasses.asdict(self.settings) or content["words"] != self.corpus.words:
            raise UsageError(f"'{path}' was made with other settings or data; resume with the same, or use a new folder")
        self.network.load_state_dict(content["network"])
        self.pooled.load_state_dict(content["pooled"])
        self.average = content["average"]
        self.optimiser.load_state_dict(content["optimiser"])
        self.schedule.load_state_dict(content["schedule"])
        self.generator.set_state(content["generator"])
        torch.set_rng_state(content["torch_generator"])
        self.state, self.epoch = content["state"], content["epoch"]
        self._drop_log_lines_after(self.epoch)

    def _drop_log_lines_after(self, epoch: int) -> None:
        log = self.run_dir / "log.jsonl"
        lines = log.read_text().splitlines() if log.exists() else []
        log.write_text("".join(f"{line}\n" for line in lines if json.loads(line)["epoch"] <= epoch))


def network_from_checkpoint(path: Path, features: FeatureSettings) -> tuple[Network, dict[str, Any]]:
    """The averaged network of a checkpoint, and the settings and words that it was trained with.

    Raises:
        UsageError: if it is not a checkpoint of this loop.
    """
    try:
        content = torch.load(path, weights_only=True)
        s = content["settings"]
        network = Network(NetworkSettings(s["scale"], s["hidden"], s["dropout"]), features, len(PHONEMES))
        network.load_state_dict(content["average"])
    except Exception as error:  # torch.load raises whatever the bytes provoke
        raise UsageError(f"'{path}' is not a checkpoint of lcspeech ({error}); give a run's {CHECKPOINT}") from error
    return network.eval(), {"settings": s, "words": tuple(content["words"])}
