"""Protocols on clips: which clips, which labels, and what is counted."""

from __future__ import annotations

from pathlib import Path

import pytest

from lcspeech import Spotter
from lcspeech.errors import DataError
from lcspeech.evaluation.clips import (
    ALL_WORDS,
    COMMANDS,
    V2_12,
    V2_35,
    WORDS,
    Clip,
    ClipResults,
    Labelled,
    evaluate_clips,
    picture_accuracy,
    protocol_clips,
    protocol_label,
)
from lcspeech.evaluation.metrics import Proportion
from lcspeech.features import log_mel
from lcspeech.scoring import SILENCE, UNKNOWN
from tests.evaluation.corpus import RATE, noise, speech_commands
from tests.words import spoken


def test_the_words_are_the_published_ones() -> None:
    assert len(set(ALL_WORDS)) == len(ALL_WORDS) == 35
    assert set(COMMANDS) < set(ALL_WORDS)
    assert len(COMMANDS) == 10


@pytest.mark.parametrize(
    ("protocol", "ranked", "label"),
    [
        (V2_12, [("yes", 0.5), ("bed", 0.3)], "yes"),
        (V2_12, [("bed", 0.4), ("yes", 0.3)], UNKNOWN),  # the best label is outside the ten
        (V2_12, [("zero", 0.4), ("yes", 0.3)], UNKNOWN),
        (V2_12, [(SILENCE, 0.9)], SILENCE),
        (V2_12, [(UNKNOWN, 0.9)], UNKNOWN),
        (V2_35, [(SILENCE, 0.6), (UNKNOWN, 0.3), ("athena", 0.06), ("bed", 0.04)], "bed"),
        (WORDS, [("athena", 0.6), ("yes", 0.4)], "athena"),
    ],
)
def test_a_protocols_label(protocol: str, ranked: list[tuple[str, float]], label: str) -> None:
    assert protocol_label(protocol, ranked) == (label, dict(ranked).get(label, ranked[0][1]))


def test_twelve_classes_draw_a_tenth_of_unknown_and_of_silence(tmp_path: Path) -> None:
    for word, count in {"yes": 15, "go": 6, "bed": 30}.items():
        for i in range(count):
            noise(tmp_path / word / f"{i:08x}_nohash_0.wav", 0.1)
    noise(tmp_path / "_background_noise_" / "a.wav", 4.0)
    noise(tmp_path / "_background_noise_" / "too short.wav", 0.5)
    clips = protocol_clips(tmp_path, "all", V2_12, [])
    labels = [clip.label for clip in clips]
    assert {label: labels.count(label) for label in labels} == {"go": 6, "yes": 15, UNKNOWN: 3, SILENCE: 3}
    assert clips == protocol_clips(tmp_path, "all", V2_12, [])
    assert all(clip.path.parent.name == "bed" for clip in clips if clip.label == UNKNOWN)
    silence = [clip for clip in clips if clip.label == SILENCE]
    assert {clip.path.name for clip in silence} == {"a.wav"}
    assert all(len(clip.samples(RATE)) == RATE for clip in silence)
    assert len({clip.start for clip in silence}) == 3


def test_the_test_archive_is_scored_file_by_file(tmp_path: Path) -> None:
    for folder in ("yes", "stop", "_unknown_", "_silence_", "marvin"):
        noise(tmp_path / folder / "0a7c2a8d_nohash_0.wav.wav", 0.1)
    clips = protocol_clips(tmp_path, "all", V2_12, [])
    found = {clip.path.parent.name: clip.label for clip in clips}
    assert found == {"yes": "yes", "stop": "stop", "marvin": UNKNOWN, "_unknown_": UNKNOWN, "_silence_": SILENCE}
    assert all(clip.start is None for clip in clips)


def test_splits_are_followed(tmp_path: Path) -> None:
    root = speech_commands(tmp_path)
    assert len(protocol_clips(root, "validation", V2_35, [])) == 24
    assert len(protocol_clips(root, "testing", V2_35, [])) == 1
    labels = [clip.label for clip in protocol_clips(root, "all", WORDS, ["yes", "no"])]
    assert (labels.count("yes"), labels.count("no"), labels.count(UNKNOWN)) == (2, 2, 21)


def test_missing_clips_and_noise_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    noise(tmp_path / "athena" / "1.wav", 0.1)
    with pytest.raises(DataError, match="no clips for v2-35"):
        protocol_clips(tmp_path, "all", V2_35, [])
    with pytest.raises(DataError, match="no clips of the validation split for v2-12"):
        protocol_clips(tmp_path, "validation", V2_12, [])
    noise(tmp_path / "yes" / "1.wav", 0.1)
    assert {clip.label for clip in protocol_clips(tmp_path, "all", V2_12, [])} == {"yes", UNKNOWN}
    assert "without silence; give --noise" in caplog.text
    noise(tmp_path.parent / "elsewhere" / "hum.wav", 2.0)
    elsewhere = protocol_clips(tmp_path, "all", V2_12, [], tmp_path.parent / "elsewhere")
    assert {clip.label for clip in elsewhere} == {"yes", UNKNOWN, SILENCE}
    noise(tmp_path / "_background_noise_" / "short.wav", 0.1)
    with pytest.raises(DataError, match="no recording of 1 s"):
        protocol_clips(tmp_path, "all", V2_12, [])


def labelled(word: str, speaker: str, label: str) -> Labelled:
    return Labelled(Clip(Path(word) / f"{speaker}_nohash_0.wav", word), label, 0.9)


def test_the_figures_by_hand() -> None:
    results = ClipResults(
        V2_12,
        (
            labelled("yes", "a", "yes"),
            labelled("yes", "b", "no"),
            labelled("yes", "b", "no"),
            labelled("no", "b", "no"),
            Labelled(Clip(Path("no/take.wav"), "no"), UNKNOWN, 0.5),
            Labelled(Clip(Path("no/x_nohash_0.wav"), "no"), error="it is damaged"),
        ),
        COMMANDS,
        COMMANDS[:5],
    )
    content = results.to_json("a model")
    assert results.accuracy == Proportion(2, 5)
    assert (content["accuracy"], content["clips"], content["unread"]) == (0.4, 5, 1)
    assert content["interval"] == Proportion(2, 5).interval
    assert content["per_word"] == {"yes": {"accuracy": 1 / 3, "clips": 3}, "no": {"accuracy": 0.5, "clips": 2}}
    assert content["confusion"] == {"yes": {"no": 2, "yes": 1}, "no": {"no": 1, UNKNOWN: 1}}
    assert results.per_speaker_group == {"1": Proportion(1, 1), "2-4": Proportion(1, 3), "5+": Proportion(0, 0)}
    assert (content["model"], content["protocol"], content["known_share"]) == ("a model", V2_12, 0.5)
    assert results.errors == ("it is damaged",)


def test_the_shipped_model_on_real_words(tmp_path: Path) -> None:
    clips = protocol_clips(speech_commands(tmp_path), "all", V2_12, [])
    spotter, counted = Spotter.load(), []
    alone, together = (evaluate_clips(spotter, clips * 2, V2_12, workers, counted.append) for workers in (1, 2))
    assert alone == together
    assert sum(counted) == 4 * len(clips)
    assert alone.accuracy.value > 0.7
    names = [keyword.name for keyword in spotter.card.known()]
    for one in alone.labelled:
        samples = one.clip.samples(RATE)
        best, _ = spotter.replace(keywords=names).classify(samples, sample_rate=RATE, block=1_280)[0]
        assert one.label == (best if best in {*COMMANDS, SILENCE} else UNKNOWN)


def test_a_damaged_clip_does_not_stop_the_others(tmp_path: Path) -> None:
    (tmp_path / "yes").mkdir()
    (tmp_path / "yes" / "1.wav").write_bytes(b"no audio")
    noise(tmp_path / "yes" / "2.wav", 1.0)
    clips = protocol_clips(tmp_path, "all", WORDS, ["yes"])
    results = evaluate_clips(Spotter.load(), clips, WORDS)
    assert results.accuracy.total == 1
    assert len(results.errors) == 1
    assert "1.wav" in results.errors[0]


def test_an_archive_with_lists_beside_it_is_one_if_all_of_it_is_asked_for(tmp_path: Path) -> None:
    for name in ("yes/1.wav.wav", "_unknown_/1.wav.wav", "_silence_/1.wav.wav", "_background_noise_/1.wav"):
        noise(tmp_path / name, 1.5)
    (tmp_path / "testing_list.txt").write_text("yes/1.wav\n")
    clips = protocol_clips(tmp_path, "all", V2_12, [])
    assert sorted((clip.path.parent.name, clip.label) for clip in clips) == [
        ("_silence_", SILENCE),
        ("_unknown_", UNKNOWN),
        ("yes", "yes"),
    ]


def test_nobody_knows_the_words_of_an_archives_unknown_clips(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("yes/1.wav", "_unknown_/1.wav", "_silence_/1.wav"):
        noise(tmp_path / name, 1.0)
    assert [clip.label for clip in protocol_clips(tmp_path, "all", WORDS, ["yes"])] == ["yes", SILENCE]
    assert "left out: 1 unknown clips" in caplog.text


def test_pictures_are_labelled_as_clips_are() -> None:
    spotter = Spotter.load("commands-tiny")
    clips = {word: spoken(word, 1)[0] for word in ("yes", "no", "zero")}
    pictures = [log_mel(clip, spotter.card.features)[:97] for clip in clips.values()]  # no multiple of the stride
    right = picture_accuracy(spotter, pictures, ["yes", "no", UNKNOWN])
    assert (right["accuracy"], right["clips"]) == (1.0, 3)
    assert picture_accuracy(spotter, pictures, ["no", "no", UNKNOWN])["accuracy"] == pytest.approx(2 / 3)
