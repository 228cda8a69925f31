"""The training loop: it learns, resumes to the bit, and never loses a checkpoint."""

# ruff: noqa: E402
from __future__ import annotations

import dataclasses
import errno
import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from lcspeech.card import DataSource, FeatureSettings, ModelCard, SearchSettings, WordSpec
from lcspeech.errors import UsageError
from lcspeech.pronunciation import pronunciations
from lcspeech.scoring import Lattice
from lcspeech.train.data import Clips, Corpus, Utterance
from lcspeech.train.loop import Trainer, check_settings, read_checkpoint, spellings
from lcspeech.train.losses import sequence_log_probs
from lcspeech.train.run import CHECKPOINT, LOG
from lcspeech.train.settings import load_settings
from lcspeech.units import PHONEMES

FEATURES = FeatureSettings()
FLOOR = float(np.log(FEATURES.floor))
WORDS = ("no", "yes")
RECIPE = Path(__file__).parents[2] / "recipes" / "train_kws.toml"


def sounds(frames: int, seed: int, low: int, high: int) -> np.ndarray[Any, np.dtype[np.float16]]:
    """Noise that is loud in the bands ``[low, high)``."""
    x = np.random.default_rng(seed).normal(-8, 1, (frames, FEATURES.n_mels))
    x[:, low:high] += 6
    return x.astype(np.float16)


def make_clips(per_word: int, seed: int) -> Clips:
    """Each word in bands of its own."""
    maps = [sounds(98, seed + i, 20 * (i % 2), 20 * (i % 2) + 15) for i in range(2 * per_word)]
    names = tuple(f"{WORDS[i % 2]}/{seed}_nohash_{i}" for i in range(2 * per_word))
    return Clips(np.stack(maps), np.arange(2 * per_word) % 2, names)


def make_utterance(words: str, frames: int, seed: int) -> Utterance:
    spelled = tuple(words.split())
    units = PHONEMES.encode(p for word in spelled for p in pronunciations(word)[0])
    return Utterance(sounds(frames, seed, 10, 30), spelled, units, "19")


CORPUS = Corpus(
    words=WORDS,
    clips=(make_clips(6, 0), make_clips(3, 100)),
    validation=(make_clips(4, 200), make_clips(2, 300)),
    utterances=(make_utterance("dogs and cats", 163, 400), make_utterance("he said no", 180, 401)),
    held_out=(make_utterance("oh dear", 150, 402),),
    noise=sounds(500, 500, 0, 40),
    sources=(DataSource("Made up", "CC0", "https://example.org", "18 clips"),),
)
SETTINGS = dataclasses.replace(
    load_settings(RECIPE),
    keywords=("yes",),
    scale=0.25,
    hidden=8,
    epochs=4,
    steps_per_epoch=2,
    batch=4,
    warmup_epochs=1,
    ramp_epochs=1,
    utterance_every=2,
    utterance_batch=2,
    talk_share=0.5,
    threads=1,
)


PLAIN: dict[str, Any] = {
    "silence_share": 0.0,
    "noise_probability": 0.0,
    "gain_db": 0.0,
    "tilt_db": 0.0,
    "speed": 0.0,
    "warp": 0.0,
    "room_probability": 0.0,
    "band_limit_probability": 0.0,
    "cut_frames": 3,
    "masks": 0,
    "batch": 64,
    "talk_share": 0.0,
}


def make_trainer(folder: Path, corpus: Corpus = CORPUS, **changes: Any) -> Trainer:
    return Trainer(corpus, dataclasses.replace(SETTINGS, **changes), FEATURES, folder)


def folder_of(parent: Path, name: str) -> Path:
    path = parent / name
    path.mkdir()
    return path


def log_of(folder: Path) -> list[dict[str, Any]]:
    """The log without what a clock or the machine decides."""
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key not in {"seconds", "machine"}} for line in lines]


def killer(after: int) -> Callable[[], None]:
    """Something for `on_step` that interrupts the run after so many steps."""
    steps = iter(range(1, after + 1))

    def on_step() -> None:
        if next(steps) == after:
            raise KeyboardInterrupt

    return on_step


def assert_same(a: object, b: object, where: str = "checkpoint") -> None:
    """Equal to the bit, tensors and all."""
    assert type(a) is type(b), where
    if isinstance(a, Tensor):
        assert isinstance(b, Tensor)
        assert a.dtype == b.dtype, where
        assert torch.equal(a, b), where
    elif isinstance(a, dict):
        assert isinstance(b, dict)
        assert a.keys() == b.keys(), where
        for key in a:
            assert_same(a[key], b[key], f"{where}.{key}")
    elif isinstance(a, list | tuple):
        assert isinstance(b, list | tuple)
        assert len(a) == len(b), where
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            assert_same(x, y, f"{where}[{i}]")
    else:
        assert a == b, where


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("uninterrupted")
    make_trainer(folder).run()
    return folder


# A whole run and its parts


def test_a_run_leaves_a_log_line_and_a_checkpoint_for_each_epoch(uninterrupted: Path) -> None:
    log = log_of(uninterrupted)
    assert [line["epoch"] for line in log] == [1, 2, 3, 4]
    for line in log:
        assert 0 <= line["accuracy"] <= 1
        assert 0 <= line["picture_accuracy"] <= 1
        assert 0 <= line["misses"] <= 1
        assert 0 <= line["noisy_misses"] <= 1
        assert np.isfinite(list(line.values())).all()
    # The warm-up
    assert log[0].keys() == {"epoch", "pooled", "accuracy", "picture_accuracy", "misses", "noisy_misses", "phonemes"}
    assert log[2].keys() == log[0].keys() | {"clips", "utterances", "false_alarms"}
    assert sorted(path.name for path in uninterrupted.iterdir()) == [CHECKPOINT, "log.jsonl"]


@pytest.mark.parametrize("killed_after", [4, 5])  # steps: between two epochs' steps, and in the third epoch
def test_a_resumed_run_is_the_same_to_the_bit(uninterrupted: Path, tmp_path: Path, killed_after: int) -> None:
    with pytest.raises(KeyboardInterrupt):
        make_trainer(tmp_path).run(killer(killed_after))
    torch.manual_seed(99)  # whatever else the process drew
    trainer = make_trainer(tmp_path)
    trainer.resume()
    assert trainer.epoch == killed_after // 2 - (killed_after == 4)  # killed before the second epoch was saved
    network = trainer.run()
    ours = torch.load(tmp_path / CHECKPOINT, weights_only=True)
    expected = torch.load(uninterrupted / CHECKPOINT, weights_only=True)
    assert ours.keys() == expected.keys() >= {"network", "pooled", "average", "optimisers", "schedules", "processes"}
    assert_same(ours, expected)
    assert_same(dict(network.state_dict()), expected["best"]["average"])
    assert log_of(tmp_path) == log_of(uninterrupted)


def test_late_batch_norms_keep_their_statistics(tmp_path: Path) -> None:
    def statistics(trainer: Trainer) -> list[torch.Tensor]:
        modules = [module for module in trainer.network.modules() if isinstance(module, torch.nn.BatchNorm2d)]
        return [value.clone() for module in modules for value in (module.running_mean, module.running_var)]

    trainer = make_trainer(tmp_path, norm_epochs=1)
    first, seen = statistics(trainer), []
    trainer.run(lambda: seen.append(statistics(trainer)))
    assert not any(torch.equal(*pair) for pair in zip(first, seen[0], strict=True))
    assert_same(seen[2:], [seen[1]] * 6)  # the first epoch's two steps, and six without


@pytest.mark.parametrize(
    ("source", "trained"), [("all", (True, True)), ("utterances", (True, False)), ("segments", (False, True))]
)
def test_norms_may_take_their_statistics_from_a_part_of_what_is_heard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, trained: tuple[bool, bool]
) -> None:
    trainer = make_trainer(tmp_path, norms_from=source, warmup_epochs=0, ramp_epochs=0, utterance_every=1)
    norms = [module for module in trainer.network.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    training: list[set[bool]] = []  # of the norms, whenever the network hears something
    hidden = trainer.network.hidden

    def spy(x: Tensor, state: tuple[Tensor, ...]) -> Any:
        training.append({norm.training for norm in norms})
        return hidden(x, state)

    trainer._train_mode()
    monkeypatch.setattr(trainer.network, "hidden", spy)
    _, parts = trainer._losses(0)
    assert {"clips", "utterances"} <= parts.keys()
    assert training == [{part} for part in trained]  # utterances come first
    assert all(norm.training for norm in norms)


def test_a_later_epoch_that_is_worse_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figures, others = iter([0.5, 0.9, 0.9, 0.7]), {"misses": 0.2, "noisy_misses": 0.4, "phonemes": 2.0}
    monkeypatch.setattr(Trainer, "validate", lambda _: {"accuracy": next(figures), **others})
    averages = []
    trainer = make_trainer(tmp_path, phoneme_score=0.1)
    save = trainer.save
    monkeypatch.setattr(trainer, "save", lambda: (averages.append(trainer.averaged().state_dict()), save()))
    network = trainer.run()
    assert_same(dict(network.state_dict()), dict(averages[2]))
    assert trainer.best["epoch"] == 3
    assert trainer.best["score"] == pytest.approx(0.9 - 0.3 - 0.1 * 2.0)


def test_another_seed_is_another_run(uninterrupted: Path, tmp_path: Path) -> None:
    make_trainer(tmp_path, seed=2).run()
    assert log_of(tmp_path) != log_of(uninterrupted)


def test_a_kill_after_the_checkpoint_loses_no_log_line(
    uninterrupted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = Trainer.save

    def save_and_die(trainer: Trainer) -> None:
        save(trainer)
        if trainer.epoch == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(Trainer, "save", save_and_die)
    with pytest.raises(KeyboardInterrupt):
        make_trainer(tmp_path).run()
    monkeypatch.undo()
    trainer = make_trainer(tmp_path)
    trainer.resume()
    trainer.run()
    assert log_of(tmp_path) == log_of(uninterrupted)


def test_log_lines_after_the_checkpoint_are_dropped(uninterrupted: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        make_trainer(tmp_path).run(killer(5))
    with (tmp_path / "log.jsonl").open("a") as log:
        log.write('{"epoch": 3, "pooled": 9.9}\n')
    trainer = make_trainer(tmp_path)
    trainer.resume()
    assert log_of(tmp_path) == log_of(uninterrupted)[:2]


def test_a_finished_run_resumes_to_its_network(uninterrupted: Path) -> None:
    before = (uninterrupted / CHECKPOINT).read_bytes()
    trainer = make_trainer(uninterrupted)
    trainer.resume()
    network = trainer.run()
    best = torch.load(uninterrupted / CHECKPOINT, weights_only=True)["best"]
    assert_same(dict(network.state_dict()), best["average"])
    scores = [line["accuracy"] - line["misses"] for line in log_of(uninterrupted)]
    assert best["score"] == pytest.approx(max(scores))
    assert scores[best["epoch"] - 1] == max(scores)
    assert max(scores) not in scores[best["epoch"] :]  # the last of equals
    assert (uninterrupted / CHECKPOINT).read_bytes() == before
    assert len(log_of(uninterrupted)) == 4


def test_resume_refuses_other_settings_and_words(uninterrupted: Path) -> None:
    with pytest.raises(UsageError, match="with other gain_db, learning_rate; resume with the same, or use a new"):
        make_trainer(uninterrupted, learning_rate=1e-4, gain_db=1.5).resume()
    for changed in ({"words": ("go", "yes")}, {"sources": CORPUS.sources[:-1]}):
        with pytest.raises(UsageError, match="was made with other data"):
            make_trainer(uninterrupted, dataclasses.replace(CORPUS, **changed)).resume()


def test_what_is_made_of_a_checkpoint_keeps_to_its_settings(uninterrupted: Path) -> None:
    path = uninterrupted / CHECKPOINT
    check_settings(path, SETTINGS)
    with pytest.raises(UsageError, match=f"give --temperature {SETTINGS.temperature}"):
        check_settings(path, dataclasses.replace(SETTINGS, temperature=3.0))
    with pytest.raises(UsageError, match=f"give --validation-speakers {SETTINGS.validation_speakers[0]}"):
        check_settings(path, dataclasses.replace(SETTINGS, validation_speakers=("20",)))


def test_a_new_run_does_not_go_on_with_an_old_log(tmp_path: Path) -> None:
    (tmp_path / LOG).write_text('{"epoch": 1}\n')
    make_trainer(tmp_path).run()
    assert len(log_of(tmp_path)) == SETTINGS.epochs


def test_what_has_diverged_is_kept_if_there_is_nothing_better(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = make_trainer(tmp_path)
    monkeypatch.setattr(trainer, "validate", lambda: {"accuracy": math.nan})
    trainer.run()
    read_checkpoint(tmp_path / CHECKPOINT, FEATURES)


def test_a_word_without_validation_clips_has_no_misses(tmp_path: Path) -> None:
    clips = Clips(spelled(-5, -5), np.array([0, 0]), ("a", "b"))  # of "no", which is no keyword
    corpus = dataclasses.replace(CORPUS, validation=(clips,), held_out=CORPUS.utterances[:1])
    assert {"misses", "noisy_misses"}.isdisjoint(make_trainer(tmp_path, corpus).validate())


def test_resume_needs_a_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"nothing to resume: no '.*{CHECKPOINT}'"):
        make_trainer(tmp_path).resume()


# The checkpoint on disk


def test_a_failing_save_leaves_the_old_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = make_trainer(tmp_path)
    trainer.save()
    assert [path.name for path in tmp_path.iterdir()] == [CHECKPOINT]
    before = (tmp_path / CHECKPOINT).read_bytes()

    def full_disk(_: int) -> None:
        raise OSError(errno.ENOSPC, "no space left on device")

    trainer.epoch = 1
    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="no space left"):
        trainer.save()
    assert (tmp_path / CHECKPOINT).read_bytes() == before
    monkeypatch.undo()
    trainer.save()
    assert torch.load(tmp_path / CHECKPOINT, weights_only=True)["epoch"] == 1
    assert [path.name for path in tmp_path.iterdir()] == [CHECKPOINT]


def test_the_checkpoint_holds_no_more_than_it_needs(uninterrupted: Path) -> None:
    state = torch.load(uninterrupted / CHECKPOINT, weights_only=True)["processes"][0]["state"]
    assert sum(v.untyped_storage().nbytes() for v in state) <= 1.5 * sum(4 * v.numel() for v in state)


def test_the_network_of_a_checkpoint(uninterrupted: Path) -> None:
    network, card = read_checkpoint(uninterrupted / CHECKPOINT, FEATURES)
    assert not network.training
    assert (card.name, card.description) == (SETTINGS.name, SETTINGS.description)
    assert card.keywords == (WordSpec("yes", (("Y", "EH", "S"),)),)
    assert card.fillers == (WordSpec("no", (("N", "OW"),)),)
    assert card.data == CORPUS.sources
    assert (card.units, card.time_stride, card.features) == (PHONEMES.symbols, 4, FEATURES)
    assert card.states == network.state_specs()
    assert card.parameters == sum(p.numel() for p in network.parameters())
    assert ModelCard.from_json(card.to_json()) == card
    trainer = make_trainer(uninterrupted)
    trainer.resume()
    x = torch.from_numpy(CORPUS.clips[0].log_mel[:3, :96]).float()
    with torch.no_grad():
        ours, _ = network(x, network.initial_state(3))
        expected, _ = trainer.averaged(best=True).cpu()(x, network.initial_state(3))
    assert torch.equal(ours, expected)
    assert card.search == SearchSettings(temperature=SETTINGS.temperature)


@pytest.mark.parametrize("content", [b"", b"no checkpoint", b"PK\x03\x04 broken"])
def test_what_is_no_checkpoint_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / CHECKPOINT).write_bytes(content)
    with pytest.raises(UsageError, match=r"is no checkpoint of train_kws.py, or is damaged; give the checkpoint.pt"):
        read_checkpoint(tmp_path / CHECKPOINT, FEATURES)


def test_another_programs_file_or_none_is_refused(tmp_path: Path) -> None:
    torch.save({"weights": torch.zeros(3)}, tmp_path / "other.pt")
    with pytest.raises(UsageError, match=r"other.pt' is no checkpoint of train_kws.py"):
        read_checkpoint(tmp_path / "other.pt", FEATURES)
    with pytest.raises(UsageError, match=r"cannot read the checkpoint '.*absent.pt' \(No such file"):
        read_checkpoint(tmp_path / "absent.pt", FEATURES)


# What it learns


def test_training_lowers_the_pooled_loss(tmp_path: Path) -> None:
    plain = PLAIN | {"batch": 8, "silence_share": 0.1}
    make_trainer(tmp_path, epochs=3, steps_per_epoch=10, hidden=16, learning_rate=0.01, warmup_epochs=9, **plain).run()
    losses = [line["pooled"] for line in log_of(tmp_path)]
    assert losses[0] > 0.5  # of three classes, log 3 = 1.10 is chance
    assert losses[-1] < 0.5 * losses[0]


def test_the_average_follows_the_weights(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, average=0.0)
    trainer.run()
    for key, value in trainer.network.state_dict().items():
        if value.is_floating_point():
            torch.testing.assert_close(trainer.average[key], value)


class Speller:
    """Stands for a network: it spells "yes" where the first feature is positive, else "no"; large ones surely."""

    time_stride = 4

    def after_silence(self, _seconds: float, _features: FeatureSettings, batch: int) -> tuple[int, ...]:
        return (batch,)

    def __call__(self, x: Tensor, state: tuple[int, ...]) -> tuple[Tensor, tuple[int, ...]]:
        if x.shape[1] != 400:  # noise alone has no pauses
            assert (x[:, :32] == x.new_tensor(FLOOR)).all()  # 0.3 s of silence on either side
            assert (x[:, -30:] == x.new_tensor(FLOOR)).all()
        logits = torch.zeros(len(x), 10, len(PHONEMES))
        logits[:, :, 0] = 9.0
        for row, clip in zip(logits, x, strict=True):
            for t, unit in enumerate(PHONEMES.encode(pronunciations("yes" if clip[32, 0] > 0 else "no")[0])):
                row[2 * t + 1, 0], row[2 * t + 1, unit] = 0.0, abs(clip[32, 0])
        return logits.log_softmax(2).to(x.device), state


def spelled(*first: float) -> NDArray[np.float16]:
    maps = np.full((len(first), 98, 40), -5, np.float16)
    maps[:, 0, 0] = first
    return maps


def test_validation_counts_what_is_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clips = Clips(spelled(-5, 5, 5, -5), np.array([0, 1, 0, 0]), ("a", "b", "c", "d"))
    trainer = make_trainer(tmp_path, dataclasses.replace(CORPUS, validation=(clips,), held_out=()))
    monkeypatch.setattr(trainer, "averaged", Speller)
    monkeypatch.setattr(trainer.batches, "in_noise", lambda x, *_: x)
    assert trainer.validate() == {"accuracy": 0.75}


# At thresholds for 0 false alarms two of the words are missed, for 1 one, for 2 none; the mean is that of a quarter to
# four times as many as are allowed: (0, 0, 0, 0, 0), (0, 0, 1, 2, 4) and (2, 4, 9, 18, 36)
@pytest.mark.parametrize(("allowed", "missed", "drowned_missed"), [(0.1, 2, 1.0), (1.1, 1, 0.6), (9.1, 0, 0.0)])
def test_validation_counts_misses_at_so_many_false_alarms(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, allowed: float, missed: int, drowned_missed: float
) -> None:
    # Only "yes" is a keyword: four are said, more and more surely; in talk it is heard twice, where nobody said it
    clips = Clips(spelled(4, 6, 8, 9, -9), np.array([1, 1, 1, 1, 0]), ("a", "b", "c", "d", "e"))
    units = PHONEMES.encode(pronunciations("yes")[0])
    said = [
        Utterance(spelled(sure)[0], ("oh", word), u, "20")
        for sure, word, u in ((7, "dear", units), (5, "my", units), (9, "yes", None))
    ]
    corpus = dataclasses.replace(CORPUS, validation=(clips,), held_out=tuple(said), noise=CORPUS.noise[:399])
    hours = 3 * 98 / FEATURES.frame_rate / 3600
    trainer = make_trainer(tmp_path, corpus, alarms_per_hour=allowed / hours)
    monkeypatch.setattr(trainer, "averaged", Speller)

    def drowned(x: Tensor, snr_db: float, _: torch.Generator) -> Tensor:
        assert snr_db == 10
        return x.index_fill(1, torch.tensor([32], device=x.device), -5)  # which is a "no"

    monkeypatch.setattr(trainer.batches, "in_noise", drowned)
    with_pauses = (F.pad(torch.from_numpy(u.log_mel[None]).float(), (0, 0, 32, 30), value=FLOOR) for u in said[:2])
    spelled_out = torch.stack([sequence_log_probs(Speller()(x, ())[0], Lattice.build([[units]])) for x in with_pauses])
    phonemes = -spelled_out.mean() / len(units)
    assert trainer.validate() == {
        "accuracy": 1.0,
        "misses": missed / 4,
        "noisy_misses": drowned_missed,  # no false alarm sets a threshold then
        "phonemes": pytest.approx(float(phonemes), abs=1e-4),
    }


def test_validation_counts_false_alarms_in_noise_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clips = Clips(spelled(4, 6, 8, 9), np.ones(4, int), ("a", "b", "c", "d"))
    noise = CORPUS.noise.copy()
    noise[32, 0] = 8.5
    said = Utterance(spelled(7)[0], ("oh", "dear"), None, "20")
    corpus = dataclasses.replace(CORPUS, validation=(clips,), held_out=(said,), noise=noise)
    trainer = make_trainer(tmp_path, corpus, alarms_per_hour=0.1)
    monkeypatch.setattr(trainer, "averaged", Speller)
    monkeypatch.setattr(trainer.batches, "in_noise", lambda x, *_: x)
    figures = trainer.validate()
    assert (figures["misses"], figures["noisy_misses"]) == (0.5, 0.75)


# Streams, and what a run starts from


def test_utterances_leave_their_state_to_the_rows_that_heard_them(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path)
    before = [value.clone() for value in trainer.state]
    trainer._utterances()
    changed = torch.stack([(a != b).flatten(1).any(1) for a, b in zip(before, trainer.state, strict=True)]).any(0)
    assert changed.sum() == SETTINGS.utterance_batch
    assert not any(value.requires_grad for value in trainer.state)


def test_it_starts_from_another_networks_weights(tmp_path: Path) -> None:
    trained = make_trainer(folder_of(tmp_path, "trained"), seed=7).run()
    same, wider = make_trainer(folder_of(tmp_path, "same")), make_trainer(folder_of(tmp_path, "wider"), hidden=12)
    for trainer in (same, wider):
        trainer.start_from(trained)
    assert_same(dict(same.network.state_dict()), dict(trained.state_dict()))
    assert_same(same.average, dict(trained.state_dict()))
    assert_same(wider.average, dict(wider.network.state_dict()))
    x = torch.from_numpy(CORPUS.validation[0].log_mel[:2, :96]).float()
    with torch.no_grad():
        networks = (trained.cpu(), wider.averaged().cpu())
        expected, got = (network(x, network.initial_state(2))[0] for network in networks)
    torch.testing.assert_close(got, expected)


def posteriors(clips: int) -> Tensor:
    return torch.randn(clips, len(WORDS) + 1, generator=torch.Generator().manual_seed(5)).softmax(1)


def test_a_teacher_is_learned_from(tmp_path: Path) -> None:
    words = torch.from_numpy(np.concatenate([clips.words for clips in CORPUS.clips]))
    make_trainer(folder_of(tmp_path, "alone")).run()
    Trainer(CORPUS, SETTINGS, FEATURES, folder_of(tmp_path, "taught"), posteriors(len(words))).run()
    alone, taught = (torch.load(tmp_path / name / CHECKPOINT, weights_only=True) for name in ("alone", "taught"))
    assert any(not torch.equal(value, taught["network"][key]) for key, value in alone["network"].items())
    # A teacher that repeats the labels, those of silence too, gives the cross-entropy
    settings = dataclasses.replace(SETTINGS, ctc_weight=0.0)
    sure = F.one_hot(words, len(WORDS) + 1).float()
    trainer = Trainer(CORPUS, settings, FEATURES, folder_of(tmp_path, "sure"), sure)
    trainer.epoch = SETTINGS.epochs - 1
    _, parts = trainer._losses(1)
    assert parts["distillation"].item() == pytest.approx(parts["clips"].item(), rel=1e-5)


def test_a_taught_run_resumes_to_the_bit(tmp_path: Path) -> None:
    teacher = posteriors(sum(map(len, CORPUS.clips)))
    whole, killed = folder_of(tmp_path, "whole"), folder_of(tmp_path, "killed")
    Trainer(CORPUS, SETTINGS, FEATURES, whole, teacher).run()
    with pytest.raises(KeyboardInterrupt):
        Trainer(CORPUS, SETTINGS, FEATURES, killed, teacher).run(killer(5))
    resumed = Trainer(CORPUS, SETTINGS, FEATURES, killed, teacher)
    resumed.resume()
    resumed.run()
    assert_same(*(torch.load(folder / CHECKPOINT, weights_only=True) for folder in (whole, killed)))


# Corners


def test_spellings_are_all_pronunciations() -> None:
    assert spellings(("go", "zero")) == [
        [PHONEMES.encode(("G", "OW"))],
        [PHONEMES.encode(["Z", "IH", "R", "OW"]), PHONEMES.encode(["Z", "IY", "R", "OW"])],
    ]


def test_silence_is_the_last_group_of_clips(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path)
    assert trainer.lattice.owner.max() == len(WORDS)
    assert trainer.lattice.first[-1]  # a lone blank
    assert trainer.keyword_lattice.owner.max() == len(WORDS) - 1


def test_a_word_without_pronunciation_is_refused() -> None:
    with pytest.raises(UsageError, match="no pronunciation of 'xqzt' in CMUdict"):
        spellings(("yes", "xqzt"))


def test_a_run_without_utterances_or_pictures(tmp_path: Path) -> None:
    corpus = dataclasses.replace(CORPUS, clips=CORPUS.clips[:1], validation=CORPUS.validation[:1], utterances=())
    corpus = dataclasses.replace(corpus, held_out=())
    make_trainer(tmp_path, corpus, epochs=2, warmup_epochs=0).run()
    assert log_of(tmp_path)[-1].keys() == {"epoch", "pooled", "clips", "accuracy"}


def test_more_utterances_than_clips_in_a_batch(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="utterance_batch is larger than batch"):
        make_trainer(tmp_path, epochs=1, warmup_epochs=-1, utterance_batch=6)


def test_short_utterances(tmp_path: Path) -> None:
    corpus = dataclasses.replace(CORPUS, utterances=(make_utterance("dogs", 40, 1),))
    make_trainer(tmp_path, corpus, epochs=1, steps_per_epoch=8, warmup_epochs=-1, utterance_every=1).run()


def test_the_run_folder_is_made(tmp_path: Path) -> None:
    make_trainer(tmp_path / "runs" / "first", epochs=1).run()
    assert (tmp_path / "runs" / "first" / CHECKPOINT).exists()


def test_a_stream_that_starts_anew_starts_as_one_does_in_use(tmp_path: Path) -> None:
    """After silence: no live stream begins at zero."""
    trainer = make_trainer(tmp_path, reset_probability=1.0, warmup_epochs=0, ramp_epochs=0)
    trainer._train_mode()
    silence = torch.full((1, 240, FEATURES.n_mels), math.log(FEATURES.floor))
    trainer.network.eval()
    with torch.no_grad():
        _, settled = trainer.network(silence, trainer.network.initial_state(1))
    assert_same(list(trainer.quiet), list(settled))
    heard: list[tuple[Tensor, ...]] = []
    hidden = trainer.network.hidden
    trainer.network.hidden = lambda x, state: (heard.append(state), hidden(x, state))[1]  # type: ignore[method-assign]
    trainer._losses(1)
    for value, start in zip(heard[-1], settled, strict=True):
        torch.testing.assert_close(value, start.expand_as(value))
