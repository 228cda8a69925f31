"""Words of one's own taught to the network: what the model knows then, hears and does not, and what is refused."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from lcspeech import Spotter, UsageError, pretrained
from lcspeech.search import log_odds
from lcspeech.train import adapt as module
from lcspeech.train.adapt import adapt
from lcspeech.train.voices import installed, say
from tests.words import RATE, Floats, spoken, synthetic, variants

TALK = pretrained.shipped() / module.TALK
with_voices = pytest.mark.skipif(
    len(installed()) < 2 and "CI" not in os.environ,
    reason="flite or espeak-ng is not installed (Debian: apt install flite espeak-ng)",
)


@pytest.fixture(scope="module", autouse=True)
def shorter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A sixth of the steps, and a tenth of the talk."""
    torch.set_num_threads(1)  # as in all tests, but fixtures of modules are made before
    talk = tmp_path_factory.mktemp("talk") / "talk.flac"
    soundfile.write(talk, soundfile.read(TALK, frames=120 * RATE, dtype="float32")[0], RATE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_STEPS", 30)
        patch.setattr(module, "_STEPS_MORE", 0)
        patch.setattr(module, "TALK", talk)
        yield


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Path]]:
    """Five recordings of a word that has a spelling, and of one that has none."""
    folder, found = tmp_path_factory.mktemp("recordings"), {}
    said = {"zero": variants(spoken("zero")[0], 5)}
    said["Haus"] = synthetic("Haus", "de", (35, 45, 50, 55, 65), (140, 150, 160, 150, 170))
    for word, clips in said.items():
        found[word] = [folder / f"{word}{i}.wav" for i in range(len(clips))]
        for file, clip in zip(found[word], clips, strict=True):
            soundfile.write(file, clip, RATE, subtype="FLOAT")
    return found


@pytest.fixture(scope="module")
def folder(recordings: dict[str, list[Path]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "mine"
    adapt({"zero": recordings["zero"]}, folder)
    return folder


@pytest.fixture(scope="module")
def adapted(folder: Path) -> Spotter:
    return Spotter.load(folder)


def odds(spotter: Spotter, samples: Floats, slope: float) -> float:
    """The highest log-odds, in nats, that the only keyword reaches: 0 where it scores 0.5."""
    return float(log_odds(np.array(spotter.peak(samples, RATE)))) / slope


def test_the_model_knows_the_word_and_says_where_from(folder: Path, adapted: Spotter) -> None:
    card, base = adapted.card, Spotter.load(pretrained.OPEN).card
    assert [(word.name, word.pronunciations) for word in card.keywords] == [
        ("zero", (("Z", "IH", "R", "OW"), ("Z", "IY", "R", "OW")))
    ]
    assert (card.fillers, card.name, card.parameters) == ((), "mine", base.parameters)
    assert card.data[:-1] == base.data
    assert (card.data[-1].name, card.data[-1].amount) == ("Recordings of 'zero'", "5")
    assert (card.open, card.search, card.adapted) == (base.open, base.open_search, True)
    assert pretrained.read_folder(folder).card == card
    assert sorted(path.name for path in folder.parent.iterdir()) == ["mine"]  # nothing half made beside it


def test_the_word_is_heard_more_surely_and_talk_less(adapted: Spotter) -> None:
    base = Spotter.load(pretrained.OPEN)
    # "zero" is a word that "open" knows: with another spelling beside, it is heard as a typed one would be
    typed = base.replace(keywords=[base.spelled("null", [*adapted.keywords[0].symbols, ("Z", "IY", "R", "AO")])])
    slope = base.card.open.slope
    other = spoken("zero")[1]
    noisy = other + np.random.default_rng(1).normal(0, 0.03, len(other)).astype(np.float32)
    assert odds(adapted, noisy, slope) > odds(typed, noisy, slope) + 0.5
    talk, _ = soundfile.read(module.TALK, dtype="float32")
    assert odds(adapted, talk, slope) < -1
    assert adapted.spot(talk, sample_rate=RATE) == ()
    (event,) = adapted.spot(other, sample_rate=RATE)
    assert event.keyword == "zero"


def test_blocks_give_the_events_of_the_whole(adapted: Spotter) -> None:
    samples = np.concatenate([spoken("zero")[1], spoken("yes")[0], spoken("zero")[0]])
    with adapted.stream(RATE) as stream:
        events = [event for start in range(0, len(samples), 997) for event in stream.feed(samples[start : start + 997])]
        events += stream.flush()
    assert len(events) == 2
    for event, whole in zip(events, adapted.spot(samples, sample_rate=RATE), strict=True):
        assert (event.start, event.end, event.score) == pytest.approx((whole.start, whole.end, whole.score), abs=1e-4)


def test_several_words_and_such_as_no_dictionary_lists(recordings: dict[str, list[Path]], tmp_path: Path) -> None:
    spotter = adapt(recordings, tmp_path / "both")
    assert [keyword.name for keyword in spotter.keywords] == ["zero", "Haus"]
    for word, files in recordings.items():
        (event,) = spotter.spot(files[0])
        assert event.keyword == word


@with_voices
def test_a_typed_word_is_learned_from_synthetic_voices(tmp_path: Path) -> None:
    base = Spotter.load(pretrained.OPEN)
    typed = base.keyword("athena")
    spotter = adapt({}, tmp_path / "typed", typed=[typed])
    (keyword,) = spotter.keywords
    assert (keyword.name, keyword.symbols, keyword.threshold) == ("athena", typed.symbols, 0.7)
    assert [(d.name, d.amount) for d in spotter.card.data[-1:]] == [("'athena' as flite and espeak-ng say it", "56")]
    slope, before = base.card.open.slope, base.replace(keywords=[typed])
    heard = [odds(spotter, samples, slope) - odds(before, samples, slope) for samples in say(["athena"], 4, seed=1)]
    assert np.mean(heard) > 0.5
    assert spotter.spot(soundfile.read(module.TALK, dtype="float32")[0], sample_rate=RATE) == ()


@with_voices
def test_phonemes_are_said_as_given_and_stand_beside_recordings(
    recordings: dict[str, list[Path]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str | tuple[str, ...]] = []

    def noted(texts: Sequence[str | tuple[str, ...]], count: int, seed: int = 0) -> list[Floats]:
        said.extend(texts)
        return say(texts, count, seed)

    monkeypatch.setattr(module, "say", noted)
    monkeypatch.setattr(module, "_STEPS", 2)
    base = Spotter.load(pretrained.OPEN)
    typed = [base.keyword("house"), base.spelled("Haus", [("HH", "AW", "S"), ("HH", "AW", "Z")])]
    with pytest.raises(UsageError, match="'Haus' and 'house' are said alike; give both one name, or leave out one"):
        adapt(recordings, tmp_path / "both", typed=typed)
    typed[0] = base.keyword("marvin")
    spotter = adapt(recordings, tmp_path / "both", typed=typed)
    assert said == ["marvin", ("HH", "AW", "S"), ("HH", "AW", "Z")]
    assert [keyword.name for keyword in spotter.keywords] == ["zero", "Haus", "marvin"]
    assert spotter.keywords[1].symbols == typed[1].symbols
    assert [keyword.threshold for keyword in spotter.keywords] == [0.5, 0.5, 0.7]
    amounts = {data.name: data.amount for data in spotter.card.data}
    assert (amounts["Recordings of 'Haus'"], amounts["'Haus' as flite and espeak-ng say it"]) == ("5", "56")


def test_it_is_the_same_each_time_but_for_another_seed_or_negatives(
    recordings: dict[str, list[Path]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_STEPS", 2)
    words = {"zero": recordings["zero"]}
    made = [adapt(words, tmp_path / "mine").encoder.model for _ in range(2)]  # the second takes the first one's place
    assert made[0] == made[1]
    assert adapt(words, tmp_path / "mine", seed=1).encoder.model != made[0]
    assert adapt(words, tmp_path / "mine", recordings["Haus"]).encoder.model != made[0]


def test_whoever_stops_it_finds_all_as_before(
    recordings: dict[str, list[Path]], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_STEPS", 3)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    steps: list[int] = []

    def stop() -> None:
        steps.append(1)
        if len(steps) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        adapt({"zero": recordings["zero"]}, folder, on_step=stop)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert sorted(path.name for path in folder.parent.iterdir()) == ["mine"]


def test_what_cannot_be_learned_is_refused_before_it_is_tried(
    recordings: dict[str, list[Path]], tmp_path: Path
) -> None:
    zero, base = recordings["zero"], Spotter.load(pretrained.OPEN)
    marvin = base.keyword("marvin")
    (tmp_path / "notes").mkdir()
    (tmp_path / "kept").mkdir()
    for name in (pretrained.MODEL, pretrained.CARD, "mine.json"):
        (tmp_path / "kept" / name).write_text("{}")
    shipped = pretrained.shipped() / "commands"
    for words, folder, problem in (
        ({}, "mine", "no words to learn; type them, or give a folder of recordings for each"),
        ({"zero": zero[:2]}, "mine", "2 recordings of 'zero'; give at least 3"),
        ({"zero": zero}, "notes", "is there, and holds other things than a model of one's own words"),
        ({"zero": zero}, "kept", "is there, and holds other things than a model of one's own words"),
        ({"zero": zero}, shipped, "is where a shipped model is; give another folder"),
    ):
        with pytest.raises(UsageError, match=problem):
            adapt(words, tmp_path / folder)
    for typed, problem in (
        ([marvin, base.spelled("marvin", [("M", "AA", "V")])], "'marvin' is typed twice; give its pronunciations"),
        ([marvin, base.spelled("other", [("AH",), *marvin.symbols])], "'marvin' and 'other' are said alike"),
    ):
        with pytest.raises(UsageError, match=problem):
            adapt({}, tmp_path / "mine", typed=typed)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kept", "notes"]
    assert sorted(path.name for path in (tmp_path / "kept").iterdir()) == ["card.json", "mine.json", "model.onnx"]
    assert (shipped / "metrics.json").is_file()


def test_a_slower_word_keeps_its_end_and_short_negatives_count_for_more(
    recordings: dict[str, list[Path]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Spotter.load(pretrained.OPEN).card.features
    ramp = np.linspace(0, 1, 200, dtype=np.float32)[:, None].repeat(settings.n_mels, 1)
    material = module._Material([[[ramp]]], [np.zeros((1000, settings.n_mels), np.float32)], settings, 0)
    assert len(material.hardness) == 4  # the last of them, which is shorter, too
    monkeypatch.setattr(material, "_varied", lambda rows: rows)
    lengths = set()
    for _ in range(5):
        rows, _ = material.recordings()
        for row in rows[:, :, 0]:
            inside = torch.nonzero((row > 0.01) & (row < 0.999))[:, 0]
            assert row[inside].max() > 0.98
            lengths.add(len(inside))
    assert min(lengths) < 185
    assert max(lengths) > 215

    seen: list[int] = []

    class Seen(module._Material):
        def __init__(self, *arguments: object) -> None:
            super().__init__(*arguments)  # type: ignore[arg-type]
            seen.append(len(self.talk))

    monkeypatch.setattr(module, "_Material", Seen)
    monkeypatch.setattr(module, "_STEPS", 1)
    for negatives in ([], recordings["Haus"][:1]):
        model = adapt({"zero": recordings["zero"]}, tmp_path / "mine", negatives)
    assert 1.09 < seen[1] / seen[0] < 1.11
    assert model.card.data[-1].name == "Recordings without these words"


def test_a_model_is_written_where_a_link_leads_and_not_over_the_working_directory(
    recordings: dict[str, list[Path]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_STEPS", 1)
    first = adapt({"zero": recordings["zero"]}, tmp_path / "mine")
    (tmp_path / "link").symlink_to("mine")
    second = adapt({"zero": recordings["zero"]}, tmp_path / "link", seed=1)
    assert second.card.name == "mine"
    assert pretrained.load(tmp_path / "mine") == second.encoder.model != first.encoder.model
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "mine"]
    assert (tmp_path / "link").is_symlink()
    monkeypatch.chdir(tmp_path / "mine")
    with pytest.raises(UsageError, match="is replaced as a whole, and you are in it; go elsewhere"):
        adapt({"zero": recordings["zero"]}, Path())


@with_voices
def test_what_a_word_scores_does_not_hang_on_the_words_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_STEPS", 1)
    base = Spotter.load(pretrained.OPEN)
    typed = [base.keyword(name) for name in ("athena", "turn on the kitchen lights please")]
    both = adapt({}, tmp_path / "both", typed=typed)
    said = say(["athena"], 2)[0]
    clip = np.concatenate([np.zeros(RATE // 2, np.float32), said, np.zeros(RATE // 2, np.float32)])
    untrained = base.replace(keywords=typed[:1]).peak(clip, RATE)
    assert both.replace(keywords=[both.keywords[0]]).peak(clip, RATE) == pytest.approx(untrained, abs=0.15)


@with_voices
def test_words_that_a_voice_would_guess_at_are_said_by_their_phonemes() -> None:
    base, said = Spotter.load(pretrained.OPEN), []

    def noted(texts: Sequence[str | tuple[str, ...]], *_: int) -> list[Floats]:
        said.append(list(texts))
        return []

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "say", noted)
        for name in ("don't", "zorblax", "Übergröße"):
            module._spoken(base.keyword(name), base, 0)
    assert said == [["don't"], *([*base.keyword(name).symbols] for name in ("zorblax", "Übergröße"))]


def test_made_up_noise_is_as_loud_as_speech_and_of_many_colours() -> None:
    random, settings = np.random.default_rng(0), Spotter.load(pretrained.OPEN).card.features
    noises = [module._noise(settings, random) for _ in range(20)]
    assert all(3 * 100 - 2 <= len(noise) <= 8 * 100 and np.isfinite(noise).all() for noise in noises)
    slopes = [float(np.polyfit(range(noise.shape[1]), noise.mean(0), 1)[0]) for noise in noises]
    assert max(slopes) - min(slopes) > 0.05  # nats a band
    loudness = [math.log(np.exp(noise).sum(1).mean()) for noise in noises]
    assert np.std(loudness) < 0.5
