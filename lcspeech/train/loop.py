"""Training of the spotter: streams of clips and utterances in, an averaged network out."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lcspeech.card import DataSource, FeatureSettings, ModelCard, SearchSettings, WordSpec
from lcspeech.errors import UsageError
from lcspeech.pronunciation import pronunciations
from lcspeech.scoring import Lattice
from lcspeech.spotter import LEADING_SECONDS
from lcspeech.train.data import Corpus
from lcspeech.train.losses import (
    clip_loss,
    distillation_loss,
    expected_hits,
    false_alarm_loss,
    sequence_log_probs,
    utterance_loss,
)
from lcspeech.train.network import Network, NetworkSettings, State, Verifier
from lcspeech.train.run import CHECKPOINT, Run
from lcspeech.train.settings import TrainSettings
from lcspeech.units import PHONEMES

_SNR_DB = 10.0  # of the validation clips and talk in noise
_TIMES = (0.25, 0.5, 1, 2, 4)  # as many false alarms as allowed: `validate` averages the misses at these
_PIECE = 400  # frames of noise alone that false alarms are looked for in at once


def spellings(words: tuple[str, ...]) -> list[list[tuple[int, ...]]]:
    """The pronunciations of each word as units."""
    missing = [word for word in words if not pronunciations(word)]
    if missing:
        raise UsageError(f"no pronunciation of '{missing[0]}' in CMUdict; leave it out")
    return [[PHONEMES.encode(p) for p in pronunciations(word)] for word in words]


class Trainer(Run):
    """One run in one folder: `run` trains to the end, from the checkpoint there if it resumes."""

    network: Network

    def __init__(
        self,
        corpus: Corpus,
        settings: TrainSettings,
        features: FeatureSettings,
        run_dir: Path,
        teacher: Tensor | None = None,
    ) -> None:
        """`teacher`: what it gives every training clip, ``[clips, words + 1]``, see `teacher.read_posteriors`."""
        super().__init__(corpus, settings, features, run_dir)
        spellings(settings.keywords)  # an error now, not when the trained network is exported
        if missing := [word for word in settings.keywords if word not in corpus.words]:
            raise UsageError(f"no recordings of {', '.join(missing)}; add them, or leave them out of --keywords")
        self.lattice = Lattice.build([*spellings(corpus.words), [()]])  # silence is the last group
        self.keyword_lattice = Lattice.build(spellings(corpus.words))
        network = self._build()
        network.set_normalisation(*self.batches.statistics())
        self.pooled = nn.Linear(settings.hidden, len(corpus.words) + 1)  # words and silence
        self._ready(network, pooled=self.pooled)
        self.state = self.network.initial_state(self.batches.rows)
        self.quiet = self.network.initial_state(1)  # what streams start from, soon that of silence
        silence = F.one_hot(torch.tensor([len(corpus.words)]))  # which needs no teacher
        self.teacher = None if teacher is None else torch.cat([teacher, silence]).to(self.device)

    def _build(self) -> Network:
        s = self.settings
        return Network(NetworkSettings(s.scale, s.hidden, s.dropout), self.features, len(PHONEMES))

    def averaged(self, best: bool = False) -> Network:
        network = super().averaged(best)
        assert isinstance(network, Network)
        return network

    def start_from(self, trained: Network) -> None:
        """Take over the weights of another network, which may be narrower: see `Network.grow_from`."""
        self.network.grow_from(trained)
        self.average = {key: value.clone() for key, value in self.network.state_dict().items()}

    def _train_mode(self) -> None:
        """Batch norms use their batch's statistics at first, later the running ones that live audio will meet.

        Those of words in silence, of talk and of noise differ, so a network that knew only its batch's would not know
        them again.
        """
        self.quiet = self.network.eval().after_silence(LEADING_SECONDS, self.features)
        self.network.train()
        if self.epoch >= self.settings.norm_epochs:
            for module in self.network.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()

    def _losses(self, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        s = self.settings
        begun = self.epoch + step / s.steps_per_epoch - s.warmup_epochs
        ramp = min(1.0, max(0.0, begun / s.ramp_epochs)) if s.ramp_epochs else float(begun >= 0)
        listens = ramp > 0 and s.utterance_every and self.batches.transcribed and step % s.utterance_every == 0
        with self._norms_kept(s.norms_from == "segments"):
            utterances = self._utterances() if listens else None  # first, before others use the norms that they set
        segments = self.batches.segments()
        labelled = ~segments.talk
        targets = segments.targets[labelled]
        reset = torch.rand(self.batches.rows, generator=self.generator, device=self.device) < s.reset_probability
        with self._norms_kept(s.norms_from == "utterances" and utterances is not None):
            hidden, self.state = self._hidden(segments.log_mel, _reset(self.state, reset, self.quiet))
        parts = {"pooled": F.cross_entropy(self.pooled(hidden[labelled].mean(1)), targets)}
        loss = (1 - ramp * (1 - s.pooled_weight)) * parts["pooled"]
        if ramp == 0:
            return loss, parts
        log_probs = self.network.log_probs(hidden)
        scores = sequence_log_probs(log_probs[labelled], self.lattice)
        parts["clips"] = clip_loss(scores, targets, s.ctc_weight).float()
        loss = loss + ramp * parts["clips"]
        if self.teacher is not None:
            known = self.teacher[segments.clips[labelled]]
            parts["distillation"] = distillation_loss(scores, known).float()
            loss = loss + ramp * s.distillation_weight * parts["distillation"]
        if segments.talk.any():
            alarms = self._false_alarms(log_probs[segments.talk], segments.absent[segments.talk])
            self.batches.remember(segments.places, alarms.detach())
            parts["false_alarms"] = alarms.mean()
            loss = loss + ramp * s.false_alarm_weight * parts["false_alarms"]
        if utterances is not None:
            log_probs, absent, parts["utterances"] = utterances
            loss = loss + ramp * s.utterance_weight * parts["utterances"]
            if step % (s.utterance_every * s.alarms_every) == 0:
                loss = loss + ramp * s.false_alarm_weight * self._false_alarms(log_probs, absent).mean()
        return loss, parts

    @contextmanager
    def _norms_kept(self, kept: bool) -> Iterator[None]:
        """If `kept`, what runs within is normed by running statistics, as live audio will be, and leaves them alone."""
        norms = [module for module in self.network.modules() if isinstance(module, nn.BatchNorm2d) and module.training]
        norms = norms if kept else []
        for module in norms:
            module.eval()
        yield
        for module in norms:
            module.train()

    def _hidden(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """The GRU's outputs and the state after them, which no gradient passes."""
        with self._faster():
            hidden, state = self.network.hidden(x, state)
        return hidden.float(), _detached(state)

    def _utterances(self) -> tuple[Tensor, Tensor, Tensor]:
        """Log-probs of a batch of utterances, what each lacks, CTC loss per phoneme; some rows' streams hear them."""
        x, utterances, absent = self.batches.utterance_batch()
        rows = torch.randperm(self.batches.rows, generator=self.generator, device=self.device)[: len(x)]
        hidden, state = self._hidden(x, tuple(value[rows] for value in self.state))
        log_probs = self.network.log_probs(hidden)
        for value, new in zip(self.state, state, strict=True):
            value[rows] = new
        return log_probs, absent, utterance_loss(log_probs, [u.units or () for u in utterances])

    def _false_alarms(self, log_probs: Tensor, absent: Tensor) -> Tensor:
        """The loss of words heard in each row of talk that are `absent` from it, per ten seconds, ``[batch]``."""
        frames = log_probs.shape[1] * self.network.time_stride
        tens = frames / self.features.frame_rate / 10
        return (false_alarm_loss(self._hits(log_probs), absent) / tens).float()

    def _soften(self, log_probs: Tensor) -> Tensor:
        return (log_probs / self.settings.temperature).log_softmax(2)

    def _hits(self, log_probs: Tensor) -> Tensor:
        search = SearchSettings()
        return expected_hits(log_probs, self.keyword_lattice, search.blanks_before, search.blanks_after)

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Closed-set accuracy on validation clips, recordings and pictures apart, with 0.3 s of silence around.

        `misses` are the keywords among the recordings that score no higher than a threshold that lets
        `alarms_per_hour` pass in the talk of the validation speakers, where there is any, on average of thresholds for
        a quarter to four times as many, since so few decide one of them; `noisy_misses` the same of both in noise, and
        of noise where nobody speaks; `phonemes` is the CTC loss of this talk, per phoneme.
        """
        network, result = self.averaged(), {}
        hits: dict[str, list[Tensor]] = {"misses": [], "noisy_misses": []}
        generator = torch.Generator(self.device).manual_seed(self.settings.seed)  # the same noise in each epoch
        for name, clips in zip(("accuracy", "picture_accuracy"), self.corpus.validation, strict=False):
            labels, correct = torch.from_numpy(clips.words).to(self.device), 0
            for start in range(0, len(clips), 256):
                x = torch.from_numpy(clips.log_mel[start : start + 256]).to(self.device).float()
                x = F.pad(x, (0, 0, 32, 30), value=self.batches.floor)
                wanted = labels[start : start + 256]
                for kind, heard in {"misses": x, "noisy_misses": self.batches.in_noise(x, _SNR_DB, generator)}.items():
                    log_probs, _ = network(heard, self._start(network, len(x)))
                    hits[kind].append(self._hits(self._soften(log_probs)).gather(1, wanted[:, None])[:, 0].cpu())
                    if kind == "misses":
                        found = sequence_log_probs(log_probs, self.lattice)[:, :-1].argmax(1)
                        correct += int((found == wanted).sum())
            result[name] = round(correct / max(1, len(clips)), 4)
        if self.corpus.held_out:
            keywords = torch.tensor([word in self.settings.keywords for word in self.corpus.words])
            false, hours, result["phonemes"] = self._held_out(network, keywords, generator)
            recorded = torch.from_numpy(self.corpus.validation[0].words)
            for kind, each in hits.items():
                alarms = F.pad(torch.cat(false[kind]).sort(descending=True).values, (0, 1))  # silence raises none
                allowed = [int(self.settings.alarms_per_hour * hours[kind] * times) for times in _TIMES]
                thresholds = alarms[torch.tensor(allowed).clamp(max=len(alarms) - 1)]
                own = torch.cat(each)[: len(recorded)][keywords[recorded]]
                if len(own):  # words of one's own may have no clips among these
                    result[kind] = round(float((own[:, None] <= thresholds).float().mean()), 4)
        return result

    def score(self, figures: dict[str, float]) -> float:
        """Streams count as much as clips, quiet and noisy ones alike, and phonemes as the settings say."""
        misses = (figures.get("misses", 0.0) + figures.get("noisy_misses", 0.0)) / 2
        phonemes = self.settings.phoneme_score * figures.get("phonemes", 0.0)
        return super().score(figures) - misses - phonemes

    def _held_out(
        self, network: Network, keywords: Tensor, generator: torch.Generator
    ) -> tuple[dict[str, list[Tensor]], dict[str, float], float]:
        """How surely each absent keyword is heard where `validate` counts false alarms; hours of that; CTC of talk."""
        false: dict[str, list[Tensor]] = {"misses": [], "noisy_misses": []}
        frames, losses = dict.fromkeys(false, 0), []

        def hear(kind: str, x: Tensor, absent: Tensor, length: int) -> Tensor:
            log_probs: Tensor = network(x, self._start(network, len(x)))[0]
            false[kind].append(self._hits(self._soften(log_probs)).cpu()[:, keywords & absent].flatten())
            frames[kind] += length
            return log_probs

        for utterance in self.corpus.held_out:
            x, length = torch.from_numpy(utterance.log_mel).to(self.device).float()[None], len(utterance.log_mel)
            x = F.pad(x, (0, 0, 32, self.batches.padded(length + 64) - length - 32), value=self.batches.floor)
            absent = torch.tensor(self.batches.lacks(utterance))
            log_probs = hear("misses", x, absent, length)
            hear("noisy_misses", self.batches.in_noise(x, _SNR_DB, generator), absent, length)
            if utterance.units:
                losses.append(float(utterance_loss(log_probs, [utterance.units])))
        whole = len(self.batches.noise) // _PIECE * _PIECE
        noise = self.batches.noise[:whole].view(-1, _PIECE, self.features.n_mels).float()
        if whole:
            hear("noisy_misses", noise, torch.ones_like(keywords), whole)
        hours = {kind: count / self.features.frame_rate / 3600 for kind, count in frames.items()}
        return false, hours, round(sum(losses) / max(1, len(losses)), 4)

    def _start(self, network: Network, batch: int) -> State:
        return network.after_silence(LEADING_SECONDS, self.features, batch)

    def _given(self) -> str:
        taught = b"" if self.teacher is None else self.teacher.cpu().numpy().tobytes()
        return super()._given() + hashlib.sha256(taught).hexdigest()

    def _own(self) -> dict[str, Any]:
        return super()._own() | {"state": self.state, "hardness": self.batches.hardness}

    def _restore(self, own: dict[str, Any]) -> None:
        super()._restore(own)
        self.state = tuple(value.to(self.device) for value in own["state"])
        self.batches.hardness = own["hardness"].to(self.device)


def _detached(state: State) -> State:
    return tuple(value.detach().float().clone() for value in state)  # not as views, which keep all activations


def _reset(state: State, rows: Tensor, start: State) -> State:
    """`state` with the chosen `rows` ``[batch]`` set to what a stream starts from."""
    chosen = (rows.view(-1, *[1] * (value.dim() - 1)) for value in state)
    return tuple(torch.where(*each) for each in zip(chosen, start, state, strict=True))


def _verifier(saved: dict[str, Tensor], words: tuple[str, ...], known: tuple[str, ...]) -> Verifier:
    """A verifier of the `known` words from a saved one of `words`; for those that it lacks there is no evidence."""
    places = [words.index(word) if word in words else len(words) for word in known]
    heads = ("head.weight", "head.bias")
    saved |= {name: torch.cat([saved[name], torch.zeros_like(saved[name][:1])])[places] for name in heads}
    verifier = Verifier(saved["inner.weight"].shape[1], len(known))
    verifier.load_state_dict(saved)
    return verifier


def check_settings(path: Path, settings: TrainSettings) -> None:
    """Whether what is made of a checkpoint, with `settings`, keeps to what the network was trained with.

    Raises:
        UsageError: if it is searched at another temperature, or for other keywords, or talk of speakers it learned
            from is to tell its false alarms, or it is no checkpoint.
    """
    read_checkpoint(path, FeatureSettings())  # an error that says more, if it is none
    own = {"validation_speakers": settings.validation_speakers} | settings_of(path)  # older ones have none
    for name in ("temperature", "validation_speakers", "keywords"):
        if own[name] != getattr(settings, name):
            flag, given = name.replace("_", "-"), own[name] if isinstance(own[name], tuple) else (own[name],)
            raise UsageError(f"'{path}' was not trained with this {name}; give --{flag} {' '.join(map(str, given))}")


def settings_of(path: Path) -> dict[str, Any]:
    """The settings that a checkpoint, which `read_checkpoint` can read, was trained with."""
    trained: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)["settings"]
    return {"temperature": 1.0, "louder_db": 0.0} | trained  # older ones have none


def read_checkpoint(path: Path, features: FeatureSettings) -> tuple[Network, ModelCard]:
    """The best averaged network of a checkpoint and its card, not calibrated yet.

    Raises:
        UsageError: if it is not a checkpoint of this loop.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        s = content["settings"]
        network = Network(NetworkSettings(s["scale"], s["hidden"], s["dropout"]), features, len(PHONEMES))
        network.load_state_dict(content.get("best", content)["average"])  # older ones keep the last
        search = SearchSettings(temperature=s.get("temperature", 1.0))  # older ones have none
        sources = tuple(DataSource(**source) for source in content["sources"])
        words = tuple(content["words"])
        keywords = tuple(s["keywords"])
        fillers = tuple(word for word in words if word not in keywords)
        if "verifier" in content:
            network.verifier = _verifier(content["verifier"], words, (*keywords, *fillers))
    except OSError as error:
        raise UsageError(
            f"cannot read the checkpoint '{path}' ({error.strerror}); give a run's {CHECKPOINT}"
        ) from error
    except Exception as error:  # torch.load raises whatever the bytes provoke, and advises what is unsafe
        raise UsageError(
            f"'{path}' is no checkpoint of train_kws.py, or is damaged; give the {CHECKPOINT} of such a run"
        ) from error
    spec = {word: WordSpec(word, pronunciations(word)) for word in (*keywords, *fillers)}
    card = ModelCard(
        name=s["name"],
        description=s["description"],
        units=PHONEMES.symbols,
        time_stride=network.time_stride,
        states=network.state_specs(),
        keywords=tuple(spec[word] for word in keywords),
        fillers=tuple(spec[word] for word in fillers),
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        licence="Apache-2.0",
        data=sources,
        features=features,
        search=search,
        verified=network.verifier is not None,
        hidden=0 if network.verifier is not None else network.gru.hidden_size,
    )
    return network.eval(), card
