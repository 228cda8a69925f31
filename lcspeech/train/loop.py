"""The training loop: streams of clips and utterances in, an averaged network out; a killed run resumes to the bit.

Under torchrun each process has its share of a batch's rows, with random draws of its own.
"""

from __future__ import annotations

import dataclasses
import json
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lcspeech.card import DataSource, FeatureSettings, ModelCard, SearchSettings, WordSpec
from lcspeech.errors import UsageError
from lcspeech.pronunciation import pronunciations
from lcspeech.scoring import Lattice
from lcspeech.train import augment
from lcspeech.train.data import Corpus, Utterance
from lcspeech.train.distributed import average, average_gradients, gather, processes, rank
from lcspeech.train.losses import (
    clip_loss,
    distillation_loss,
    expected_hits,
    false_alarm_loss,
    sequence_log_probs,
)
from lcspeech.train.network import Network, NetworkSettings
from lcspeech.train.pplcnet import CausalPPLCNet
from lcspeech.train.settings import TrainSettings
from lcspeech.units import PHONEMES

CHECKPOINT = "checkpoint.pt"
LOG = "log.jsonl"


def spellings(words: tuple[str, ...]) -> list[list[tuple[int, ...]]]:
    """The pronunciations of each word as units."""
    missing = [word for word in words if not pronunciations(word)]
    if missing:
        raise UsageError(f"no pronunciation of '{missing[0]}' in CMUdict; leave it out")
    return [[PHONEMES.encode(p) for p in pronunciations(word)] for word in words]


@dataclass(frozen=True, eq=False)
class Segments:
    """What each row's stream hears next: a clip with its surroundings, silence or noise, or a piece of talk."""

    log_mel: Tensor  # [batch, segment_frames, bands]
    targets: Tensor  # [batch]: a word, or silence; without meaning for talk
    talk: Tensor  # [batch]: which rows are talk
    absent: Tensor  # [batch, words]: which words are not in the transcript of that talk


class Batches:
    """Draws batches; all randomness comes from `generator`."""

    def __init__(self, corpus: Corpus, settings: TrainSettings, features: FeatureSettings, generator: torch.Generator):
        self.settings, self.generator = settings, generator
        self.rows, self.utterance_rows = _share(settings.batch), _share(settings.utterance_batch)
        self.masks = settings.masks
        self.floor = float(np.log(features.floor))
        self.stride = 2 ** len(CausalPPLCNet.TIME_STRIDES)
        if settings.segment_frames % self.stride:
            raise UsageError(f"segment_frames must be a multiple of {self.stride}, the network's time stride")
        if settings.segment_frames < corpus.clips[0].log_mel.shape[1] + settings.trailing_frames:
            raise UsageError("segment_frames is too short for a clip and its trailing_frames; make it longer")
        if settings.utterance_batch > settings.batch:
            raise UsageError("utterance_batch is larger than batch; make it smaller")
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
        self.talk = torch.from_numpy(np.concatenate([corpus.noise[:0], *(u.log_mel for u in corpus.utterances)]))
        self.owner = torch.tensor([i for i, u in enumerate(corpus.utterances) for _ in u.log_mel], dtype=torch.long)
        transcribed = [i for i, u in enumerate(corpus.utterances) if u.units is not None]
        self.transcribed = sorted(transcribed, key=lambda i: len(corpus.utterances[i].log_mel))
        said = [_sounds(utterance.words) for utterance in corpus.utterances]
        self.absent = torch.tensor([[said_in.isdisjoint(_sounds([word])) for word in corpus.words] for said_in in said])

    def segments(self) -> Segments:
        """The next segment of every row's stream."""
        s, g = self.settings, self.generator
        chosen = torch.multinomial(self.weights, self.rows, replacement=True, generator=g)
        targets = self.words[chosen]
        x = augment.stretch(self.features[chosen].float(), s.speed, g)
        x = augment.cut(x, s.cut_frames, self.floor, g)
        x = augment.place(x, s.segment_frames, s.trailing_frames, self.floor, g)
        silent = torch.rand(self.rows, generator=g) < s.silence_share
        x[silent], targets[silent] = self.floor, self.silence
        talk = torch.rand(self.rows, generator=g) < (s.talk_share if len(self.utterances) else 0.0)
        talk[0] = False  # there is always a clip to learn from
        absent = torch.ones(self.rows, self.silence, dtype=torch.bool)
        if talk.any():
            spoken, start = self._windows(self.talk, int(talk.sum()), s.segment_frames)
            x[talk] = augment.stretch(spoken, s.speed, g)
            first, last = (self.owner[(start + end) % len(self.owner)] for end in (0, s.segment_frames - 1))
            absent[talk] = self.absent[first] & self.absent[last]
        return Segments(self._augment(x), targets, talk, absent)

    def utterance_batch(self) -> tuple[Tensor, list[Utterance], Tensor]:
        """Log-mel padded to one length ``[batch, frames, bands]``, the utterances, and which words each lacks."""
        g = self.generator
        # Neighbours in length, so that little of the batch is padding
        first = int(torch.randint(max(1, len(self.transcribed) - self.utterance_rows + 1), (1,), generator=g))
        rows = self.transcribed[first : first + self.utterance_rows]
        chosen = [self.utterances[i] for i in rows]
        longest = max(len(u.log_mel) for u in chosen) * (1 + self.settings.speed)  # where it is said slowly
        frames = math.ceil(longest / self.stride) * self.stride
        x = torch.full((len(chosen), frames, self.features.shape[2]), self.floor)
        for row, utterance in zip(x, chosen, strict=True):
            row[: len(utterance.log_mel)] = torch.from_numpy(utterance.log_mel)
        x = augment.stretch(x, self.settings.speed, g)
        return self._augment(x), chosen, self.absent[rows]

    def _augment(self, x: Tensor) -> Tensor:
        s, g = self.settings, self.generator
        x = augment.warp(x, s.warp, g)
        x = augment.reverberate(x, s.room_probability, (s.rt60_frames[0], s.rt60_frames[1]), g)
        # A row of digital silence has no level to set the noise against: there the noise is heard as it is
        empty = (x.amax((1, 2)) <= self.floor + 1e-3)[:, None, None]
        noise, _ = self._windows(self.noise, len(x), x.shape[1])
        if len(self.talk):
            babble, _ = self._windows(self.talk, len(x), x.shape[1])
            talking = (torch.rand(len(x), 1, 1, generator=g) < s.babble_share) & ~empty
            noise = torch.where(talking, babble, noise)
        noise = augment.colour(noise, s.gain_db, s.tilt_db, self.floor, g)
        heard = torch.rand(len(x), 1, 1, generator=g) < s.noise_probability
        mixed = augment.mix(x, noise, (s.snr_db[0], s.snr_db[1]), s.noise_probability, g)
        x = torch.where(empty, torch.where(heard, noise, x), mixed)
        x = augment.band_limit(x, s.band_limit_probability, self.floor, g)
        x = augment.colour(x, s.gain_db, s.tilt_db, self.floor, g)
        return augment.spec_augment(x, self.masks, s.mask_frames, s.mask_bands, s.segment_frames, g)

    def _windows(self, source: Tensor, rows: int, frames: int) -> tuple[Tensor, Tensor]:
        """Random pieces of `source` and where each starts."""
        start = torch.randint(max(1, len(source) - frames), (rows,), generator=self.generator)
        return source[(start[:, None] + torch.arange(frames)) % len(source)].float(), start


class Trainer:
    """One run in one folder: `run` trains to the end, from the checkpoint there if it resumes."""

    def __init__(
        self,
        corpus: Corpus,
        settings: TrainSettings,
        features: FeatureSettings,
        run_dir: Path,
        teacher: Network | None = None,
    ) -> None:
        """`teacher`, a trained network, is asked about every batch of clips, as the stream that the student hears."""
        torch.set_flush_denormal(True)
        torch.set_num_threads(max(1, settings.threads // processes()))
        torch.manual_seed(settings.seed)
        self.corpus, self.settings, self.features, self.run_dir = corpus, settings, features, run_dir
        spellings(settings.keywords)  # an error now, not when the trained network is exported
        run_dir.mkdir(parents=True, exist_ok=True)
        self.generator = torch.Generator().manual_seed(settings.seed + rank())
        self.batches = Batches(corpus, settings, features, self.generator)
        self.lattice = Lattice.build([*spellings(corpus.words), [()]])  # silence is the last group
        self.keyword_lattice = Lattice.build(spellings(corpus.words))
        self.network = Network(
            NetworkSettings(settings.scale, settings.hidden, settings.dropout), features, len(PHONEMES)
        )
        sample = self.batches.features[:: max(1, len(self.batches.features) // 2000)].float().flatten(0, 1)
        self.network.set_normalisation(sample.mean(0), sample.std(0))
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.pooled = nn.Linear(settings.hidden, len(corpus.words) + 1)  # words and silence; not part of the model
        self.average = {key: value.clone() for key, value in self.network.state_dict().items()}
        parameters = [*self.network.parameters(), *self.pooled.parameters()]
        self.optimiser = torch.optim.AdamW(
            parameters, settings.learning_rate, weight_decay=settings.weight_decay, fused=True
        )
        self.steps = settings.epochs * settings.steps_per_epoch
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimiser, settings.learning_rate, self.steps, pct_start=0.01
        )
        self.state = self.network.initial_state(self.batches.rows)
        self.teacher = teacher
        self.teacher_state = teacher.initial_state(self.batches.rows) if teacher is not None else ()
        self.epoch = 0
        torch.manual_seed(settings.seed + rank())  # dropout's draws; the weights' are behind, the same everywhere

    def start_from(self, trained: Network) -> None:
        """Take over the weights of another network; what has another shape, as a GRU of another width, stays random.

        Raises:
            UsageError: if its PP-LCNet has another shape: too little would be taken over.
        """
        own, given = self.network.state_dict(), trained.state_dict()
        same = {name: value for name, value in given.items() if name in own and own[name].shape == value.shape}
        if not all(name in same for name in own if name.startswith("trunk.")):
            raise UsageError("the network to start from has a PP-LCNet of another width; train with the same scale")
        self.network.load_state_dict(same, strict=False)
        self.average = {key: value.clone() for key, value in self.network.state_dict().items()}

    @property
    def steps_done(self) -> int:
        """Steps in the epochs that are behind."""
        return self.epoch * self.settings.steps_per_epoch

    def run(self, on_step: Callable[[], None] = lambda: None) -> Network:
        """Train the epochs that are left, with a checkpoint and a log line after each; returns the averaged network."""
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
                line |= self.validate()
                with (self.run_dir / LOG).open("a") as log:
                    log.write(json.dumps(line) + "\n")
            self.save()  # after its line: resuming drops lines that no checkpoint follows
        return self.averaged()

    def _train_mode(self) -> None:
        """Batch norms use their batch's statistics at first, later the running ones that live audio will meet.

        Those of words in silence, of talk and of noise differ, so a network that knew only its batch's would not know
        them again.
        """
        self.network.train()
        if self.epoch >= self.settings.norm_epochs:
            for module in self.network.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()

    def _step(self, step: int) -> dict[str, float]:
        s = self.settings
        ramp = min(1.0, max(0.0, (self.epoch + step / s.steps_per_epoch - s.warmup_epochs) / max(1, s.ramp_epochs)))
        segments = self.batches.segments()
        x, labelled = segments.log_mel, ~segments.talk
        targets = segments.targets[labelled]
        reset = torch.rand(self.batches.rows, generator=self.generator) < s.reset_probability
        hidden, state = self.network.hidden(x, _reset(self.state, reset))
        self.state = _detached(state)
        parts = {"pooled": F.cross_entropy(self.pooled(hidden[labelled].mean(1)), targets)}
        loss = (1 - ramp * (1 - s.pooled_weight)) * parts["pooled"]
        if ramp > 0:
            log_probs = self.network.log_probs(hidden)
            scores = sequence_log_probs(log_probs[labelled], self.lattice)
            parts["clips"] = clip_loss(scores, targets, s.ctc_weight).float()
            loss = loss + ramp * parts["clips"]
            if self.teacher is not None:
                parts["distillation"] = distillation_loss(scores, self._ask_teacher(x, reset)[labelled]).float()
                loss = loss + ramp * s.distillation_weight * parts["distillation"]
            if segments.talk.any():
                parts["false_alarms"] = self._false_alarms(log_probs[segments.talk], segments.absent[segments.talk])
                loss = loss + ramp * s.false_alarm_weight * parts["false_alarms"]
            if s.utterance_every and self.batches.transcribed and step % s.utterance_every == 0:
                parts["utterances"], alarms = self._utterances()
                loss = loss + ramp * (s.utterance_weight * parts["utterances"] + s.false_alarm_weight * alarms)
        self.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        average_gradients([*self.network.parameters(), *self.pooled.parameters()])
        nn.utils.clip_grad_norm_(self.network.parameters(), s.gradient_clip)
        self.optimiser.step()
        self.schedule.step()
        # A young average leans on the newest weights, or it would remember the random ones for long
        done = self.steps_done + step
        weights = {k: v for k, v in self.network.state_dict().items() if v.is_floating_point()}
        old = [self.average[key] for key in weights]
        torch._foreach_lerp_(old, [*weights.values()], 1 - min(s.average, (done + 1) / (done + 10)))
        return {name: float(value.detach()) for name, value in parts.items()}

    @torch.no_grad()
    def _ask_teacher(self, x: Tensor, reset: Tensor) -> Tensor:
        """The teacher's scores of a batch of clips, ``[batch, groups]``; its state is carried like the student's."""
        assert self.teacher is not None
        log_probs, self.teacher_state = self.teacher(x, _reset(self.teacher_state, reset))
        return sequence_log_probs(log_probs, self.lattice)

    def _utterances(self) -> tuple[Tensor, Tensor]:
        """CTC loss per phoneme of a batch of utterances, and their false alarms; some rows' streams hear them."""
        x, utterances, absent = self.batches.utterance_batch()
        rows = torch.randperm(self.batches.rows, generator=self.generator)[: len(x)]
        log_probs, state = self.network(x, tuple(value[rows] for value in self.state))
        for value, new in zip(self.state, _detached(state), strict=True):
            value[rows] = new
        frames = torch.full((len(x),), log_probs.shape[1])  # what is beyond an utterance is silence, and heard as such
        units = [torch.tensor(u.units) for u in utterances]
        lengths = torch.tensor([len(u) for u in units])
        ctc = F.ctc_loss(log_probs.transpose(0, 1), torch.cat(units), frames, lengths, zero_infinity=True)
        return ctc, self._false_alarms(log_probs, absent)

    def _false_alarms(self, log_probs: Tensor, absent: Tensor) -> Tensor:
        """The loss of words heard in talk ``[batch, time, units]`` that are `absent` from it, per ten seconds."""
        search = SearchSettings()
        hits = expected_hits(log_probs, self.keyword_lattice, search.blanks_before, search.blanks_after)
        frames = log_probs.shape[1] * self.network.time_stride
        tens = frames / self.features.frame_rate / 10
        return (false_alarm_loss(hits, absent).mean() / tens).float()

    def averaged(self) -> Network:
        """The network with averaged weights, ready to run."""
        s = self.settings
        network = Network(NetworkSettings(s.scale, s.hidden, s.dropout), self.features, len(PHONEMES))
        network.load_state_dict(self.average)
        return network.eval()

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Closed-set accuracy on the validation clips, recordings and pictures apart, with 0.3 s of silence around."""
        network, result = self.averaged(), {}
        for name, clips in zip(("accuracy", "picture_accuracy"), self.corpus.validation, strict=False):
            correct = 0
            for start in range(0, len(clips), 256):
                x = torch.from_numpy(clips.log_mel[start : start + 256]).float()
                x = F.pad(x, (0, 0, 32, 30), value=self.batches.floor)
                log_probs, _ = network(x, network.initial_state(len(x)))
                best = sequence_log_probs(log_probs, self.lattice)[:, :-1].argmax(1)
                correct += int((best == torch.from_numpy(clips.words[start : start + 256])).sum())
            result[name] = round(correct / max(1, len(clips)), 4)
        return result

    def save(self) -> None:
        """Write the checkpoint to a temporary name, then rename: a killed run never leaves half a file."""
        own = {
            "generator": self.generator.get_state(),
            "torch_generator": torch.get_rng_state(),  # dropout draws from it
            "state": self.state,
            "teacher_state": self.teacher_state,
        }
        own_of_each = gather(own)
        if rank() != 0:
            return
        content = {
            "network": self.network.state_dict(),
            "pooled": self.pooled.state_dict(),
            "average": self.average,
            "optimiser": self.optimiser.state_dict(),
            "schedule": self.schedule.state_dict(),
            "processes": own_of_each,
            "epoch": self.epoch,
            "settings": dataclasses.asdict(self.settings),
            "words": self.corpus.words,
            "sources": [dataclasses.asdict(source) for source in self.corpus.sources],
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
        try:
            content = torch.load(path, weights_only=True)
        except Exception as error:  # torch.load raises whatever the bytes provoke
            raise UsageError(f"'{path}' is damaged; start again without --resume") from error
        if content["settings"] != dataclasses.asdict(self.settings) or content["words"] != self.corpus.words:
            raise UsageError(
                f"'{path}' was made with other settings or data; resume with the same, or use a new folder"
            )
        if len(content["processes"]) != processes():
            raise UsageError(f"'{path}' was made by {len(content['processes'])} processes; resume with as many")
        own = content["processes"][rank()]
        self.network.load_state_dict(content["network"])
        self.pooled.load_state_dict(content["pooled"])
        self.average = content["average"]
        self.optimiser.load_state_dict(content["optimiser"])
        self.schedule.load_state_dict(content["schedule"])
        self.generator.set_state(own["generator"])
        torch.set_rng_state(own["torch_generator"])
        self.state, self.teacher_state, self.epoch = own["state"], own["teacher_state"], content["epoch"]
        if rank() == 0:
            self._drop_log_lines_after(self.epoch)

    def _drop_log_lines_after(self, epoch: int) -> None:
        log = self.run_dir / LOG
        lines = log.read_text().splitlines() if log.exists() else []
        log.write_text("".join(f"{line}\n" for line in lines[:epoch]))  # one line an epoch


def _share(rows: int) -> int:
    """The rows of a batch that fall to each process."""
    if rows % processes():
        raise UsageError(f"{processes()} processes cannot share batches of {rows}; give a multiple")
    return rows // processes()


def _sounds(words: Iterable[str]) -> set[tuple[str, ...]]:
    """All that `words` can sound like: nobody hears "know" apart from "no", so neither is absent beside the other."""
    return {sound for word in words for sound in pronunciations(word)}


def _detached(state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(value.detach().clone() for value in state)  # not as views, which keep all activations


def _reset(state: tuple[Tensor, ...], rows: Tensor) -> tuple[Tensor, ...]:
    """`state` with the chosen `rows` ``[batch]`` set to what a stream starts from."""
    return tuple(torch.where(rows.view(-1, *[1] * (value.dim() - 1)), 0.0, value) for value in state)


def read_checkpoint(path: Path, features: FeatureSettings) -> tuple[Network, ModelCard]:
    """The averaged network of a checkpoint and its card, not calibrated yet.

    Raises:
        UsageError: if it is not a checkpoint of this loop.
    """
    try:
        content = torch.load(path, weights_only=True)
        s = content["settings"]
        network = Network(NetworkSettings(s["scale"], s["hidden"], s["dropout"]), features, len(PHONEMES))
        network.load_state_dict(content["average"])
        sources = tuple(DataSource(**source) for source in content["sources"])
        words = tuple(content["words"])
    except Exception as error:  # torch.load raises whatever the bytes provoke
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UsageError(f"'{path}' is not a checkpoint of lcspeech ({reason}); give a run's {CHECKPOINT}") from error
    spec = {word: WordSpec(word, pronunciations(word)) for word in (*words, *s["keywords"])}
    card = ModelCard(
        name=s["name"],
        description=s["description"],
        units=PHONEMES.symbols,
        time_stride=network.time_stride,
        states=network.state_specs(),
        keywords=tuple(spec[word] for word in s["keywords"]),
        fillers=tuple(spec[word] for word in words if word not in s["keywords"]),
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        licence="Apache-2.0",
        data=sources,
        features=features,
    )
    return network.eval(), card
