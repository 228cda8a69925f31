"""Data sets as they lie on disk; the official split itself is tested with the training data."""

from __future__ import annotations

from pathlib import Path

import pytest

from lcspeech.errors import DataError
from lcspeech.evaluation.datasets import find_clips, find_keyword_clips, find_speech, is_speech_commands, speaker_of
from tests.evaluation.corpus import noise, speech_commands


@pytest.fixture
def librispeech(tmp_path: Path) -> Path:
    """Two speakers: one says a keyword in one of two utterances."""
    for speaker, lines in {"11": ["A-1 YESTERDAY WAS FINE", "A-2 OH YES SIR"], "22": ["B-1 NOTHING"]}.items():
        chapter = tmp_path / "libri" / speaker / "7"
        for line in lines:
            noise(chapter / f"{line.split()[0]}.wav", 0.1)
        (chapter / f"{speaker}-7.trans.txt").write_text("\n".join(lines) + "\n")
    return tmp_path / "libri"


def test_the_name_tells_the_speaker() -> None:
    assert speaker_of(Path("yes/0a7c2a8d_nohash_0.wav.wav")) == "0a7c2a8d"
    assert speaker_of(Path("yes/take 1.wav")) is None


def test_all_is_every_split(tmp_path: Path) -> None:
    root = speech_commands(tmp_path)
    parts = [find_clips(root, split) for split in ("training", "validation", "testing")]
    assert [len(part) for part in parts] == [0, 24, 1]
    assert find_clips(root, "all") == sorted(path for part in parts for path in part)


def test_keyword_clips_of_speech_commands_are_of_its_validation_split(tmp_path: Path) -> None:
    root = speech_commands(tmp_path)
    clips = find_keyword_clips(root, ["no", "yes"], None)
    assert [word for word, _ in clips].count("yes") == 2
    assert {path.parent.name for _, path in clips} == {"no", "yes"}
    assert len(find_keyword_clips(root, ["no", "yes"], "all")) == 4


def test_keyword_clips_of_any_folder_are_all(tmp_path: Path) -> None:
    paths = [noise(tmp_path / "athena" / f"take {i}.wav", 0.1) for i in range(3)]
    assert not is_speech_commands(tmp_path)
    assert find_keyword_clips(tmp_path, ["athena", "yes"], None) == [("athena", path) for path in paths]
    assert find_keyword_clips(tmp_path / "athena", ["marvin"], None) == [("marvin", path) for path in paths]
    deep = [noise(tmp_path / "marvin" / "en" / f"take {i}.wav", 0.1) for i in range(2)]  # by language, as some come
    assert find_keyword_clips(tmp_path, ["marvin"], None) == [("marvin", path) for path in deep]
    assert find_keyword_clips(tmp_path / "marvin", ["marvin"], None) == [("marvin", path) for path in deep]
    split = noise(tmp_path / "more" / "athena" / "take 3.wav", 0.1)
    assert find_keyword_clips(tmp_path, ["athena"], None) == [("athena", path) for path in (*paths, split)]


@pytest.mark.parametrize("folder", ["hey athena", "hey_athena", "Hey-Athena"])
def test_a_folder_may_write_a_keyword_in_another_way(tmp_path: Path, folder: str) -> None:
    noise(tmp_path / "data" / folder / "1.wav", 0.5)
    noise(tmp_path / "data" / "other" / "1.wav", 0.5)
    expected = [("hey athena", tmp_path / "data" / folder / "1.wav")]
    assert find_keyword_clips(tmp_path / "data", ["hey athena", "athena"], None) == expected
    assert find_keyword_clips(tmp_path / "data" / folder, ["hey athena"], None) == expected


def test_a_folder_of_the_keywords_name_may_hold_others(tmp_path: Path) -> None:
    """And what is set apart by its name, like noise, is never a clip."""
    root = tmp_path / "marvin"
    noise(root / "_background_noise_" / "1.wav", 0.1)
    noise(root / "zero" / "1.wav", 0.1)
    own = noise(root / "marvin" / "1.wav", 0.1)
    assert find_keyword_clips(root, ["marvin"], None) == [("marvin", own)]


@pytest.mark.parametrize(("name", "words"), [("1.wav", ["yes", "no"]), ("0a1b_nohash_0.wav", ["yes"])])
def test_no_keyword_clips_is_an_error(tmp_path: Path, name: str, words: list[str]) -> None:
    noise(tmp_path / "athena" / name, 0.1)
    with pytest.raises(DataError, match=rf"no clips of {', '.join(words)} .*in .*--keyword"):
        find_keyword_clips(tmp_path, words, "all")


def test_folders_of_speakers_may_hold_the_clips_of_the_only_keyword(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    paths = [noise(tmp_path / speaker / "1.wav", 0.1) for speaker in ("ann", "bob")]
    assert find_keyword_clips(tmp_path, ["athena"], None) == [("athena", path) for path in paths]
    assert "no folder in" in caplog.text
    assert "named athena: all 2 recordings count as it" in caplog.text


def test_utterances_with_a_keyword_are_left_out(librispeech: Path) -> None:
    paths, left_out = find_speech(librispeech, ["yes", "no"])
    assert ([path.stem for path in paths], left_out) == (["A-1", "B-1"], 1)
    assert find_speech(librispeech, ["Yes", "NO"]) == (paths, left_out)
    assert find_speech(librispeech.parent, ["yes", "no"]) == (paths, left_out)
    assert [path.stem for path in find_speech(librispeech / "11", ["yes", "no"])[0]] == ["A-1"]
    assert [path.stem for path in find_speech(librispeech, ["yes"], ["11"])[0]] == ["A-1"]
    with pytest.raises(DataError, match=r"no utterance .* is left without a keyword"):
        find_speech(librispeech, ["nothing"], ["22"])


def test_speakers_may_be_links(librispeech: Path, tmp_path: Path) -> None:
    linked = tmp_path / "linked"
    linked.mkdir()
    for speaker in ("11", "22"):
        (linked / speaker).symlink_to(librispeech / speaker)
    paths, left_out = find_speech(linked, ["yes", "no"], ["11", "22"])
    assert ([path.stem for path in paths], left_out) == (["A-1", "B-1"], 1)


def test_speech_of_any_folder_is_taken_as_it_is(tmp_path: Path) -> None:
    path = noise(tmp_path / "talk" / "a.wav", 0.1)
    assert find_speech(tmp_path, ["yes"]) == ([path], 0)
    with pytest.raises(DataError, match=r"does not tell speakers"):
        find_speech(tmp_path, ["yes"], ["11"])
    with pytest.raises(DataError, match="no folder"):
        find_speech(tmp_path / "absent", ["yes"])


def test_utterances_with_a_phrase_are_left_out(librispeech: Path) -> None:
    assert [path.stem for path in find_speech(librispeech, ["oh yes", "Was-Fine"])[0]] == ["B-1"]
    assert find_speech(librispeech, ["yes oh"])[1] == 0


def test_a_folder_without_audio_is_no_word_of_the_split(tmp_path: Path) -> None:
    root = speech_commands(tmp_path)
    clips = find_clips(root, "all")
    (root / "empty").mkdir()
    (root / "odd").mkdir()
    (root / "odd" / ".DS_Store").touch()
    assert find_clips(root, "all") == clips
