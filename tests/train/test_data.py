"""Training data: the official split, folders of clips, transcripts, noise, pictures, and what is wrong with them."""

# ruff: noqa: E402
from __future__ import annotations

import hashlib
import io
import logging
import os
import shutil
import tarfile
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from lcspeech.card import DataSource, FeatureSettings
from lcspeech.errors import LcspeechError, UsageError
from lcspeech.features import log_mel
from lcspeech.train import data, recipe
from lcspeech.train.data import (
    FETCHED,
    Clips,
    DataError,
    PictureMap,
    clip_features,
    download,
    find_clips,
    find_noise,
    find_utterances,
    find_words,
    official_split,
    read_clips,
    read_corpus,
    read_mapped_pictures,
    read_noise,
    read_pictures,
    read_samples,
    read_utterance,
    read_validation,
    read_validation_pictures,
)
from lcspeech.train.settings import load_settings
from lcspeech.units import PHONEMES

FEATURES = FeatureSettings()
FLOOR = np.log(np.float32(FEATURES.floor))
SHARED = Path(__file__).parents[3] / "shared" / "data"
SETTINGS = Path(__file__).parents[2] / "recipes" / "train_kws.toml"
Floats = NDArray[np.float32]

# Speakers by the split that the official lists give them (see test_the_rule_agrees_with_the_official_list)
TRAINING = ("0a7c2a8d", "004ae714", "016e2c6d")
VALIDATION = ("a69b9b3e", "439c84f4")


def sound(seed: int, samples: int = 16_000) -> Floats:
    """Noise in bursts, of one colour for each seed."""
    rng = np.random.default_rng(seed)
    bursts = np.repeat(rng.uniform(0, 1, -(-samples // 1_000)) ** 2, 1_000)[:samples]
    noise = np.convolve(rng.normal(0, 0.3, samples), rng.normal(0, 0.5, 5), "same")
    return np.clip(noise * bursts, -0.9, 0.9).astype(np.float32)


def write_sound(path: Path, seed: int, samples: int = 16_000) -> Path:
    """Write `sound` as a file, PCM of 16 bits."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, sound(seed, samples), FEATURES.sample_rate)
    return path


def stored(path: Path) -> Floats:
    """What libsndfile reads from a file."""
    samples, rate = soundfile.read(path, dtype="float32")
    assert rate == FEATURES.sample_rate
    return np.asarray(samples, np.float32)


def picture_of(features: Floats) -> Floats:
    """Log-mel scaled to [0, 1], as the pictures are."""
    return np.asarray((features - features.min()) / (features.max() - features.min()), np.float32)


def write_pictures(path: Path, pictures: dict[str, Floats]) -> Path:
    """Pictures ``[98, 40]`` in [0, 1] as a tar.xz of jpgs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:xz") as tar:
        for stem, picture in pictures.items():
            content = io.BytesIO()
            Image.fromarray((picture * 255).round().astype(np.uint8)).save(content, "JPEG", quality=95)
            member = tarfile.TarInfo(f"{stem}.jpg")
            member.size = content.tell()
            content.seek(0)
            tar.addfile(member, content)
    return path


# The official split


def test_the_splits_of_known_speakers() -> None:
    assert {official_split(f"{speaker}_nohash_0.wav") for speaker in VALIDATION} == {"validation"}
    assert {official_split(f"{speaker}_nohash_1.wav") for speaker in TRAINING} == {"training"}


def test_the_rule_is_the_published_one() -> None:
    for i in range(300):
        name = f"{i:08x}_nohash_{i % 5}.wav"
        hashed = int(hashlib.sha1(f"{i:08x}".encode()).hexdigest(), 16)
        percent = (hashed % 2**27) * (100.0 / (2**27 - 1))
        expected = "validation" if percent < 10 else "testing" if percent < 20 else "training"
        assert official_split(name) == expected


@given(st.integers(0, 2**32 - 1), st.integers(0, 20), st.sampled_from([".wav", ".opus", ".flac", ".jpg"]))
@settings(max_examples=50, deadline=None)
def test_a_speaker_is_in_one_split(speaker: int, take: int, suffix: str) -> None:
    first = official_split(f"{speaker:08x}_nohash_0.wav")
    assert official_split(f"{speaker:08x}_nohash_{take}{suffix}") == first
    assert official_split(f"some/where/{speaker:08x}_nohash_{take}{suffix}") == first


def test_the_proportions_are_as_asked() -> None:
    names = [f"{hashlib.md5(bytes([i % 256, i // 256])).hexdigest()[:8]}_nohash_0.wav" for i in range(2_000)]
    share = dict.fromkeys(("training", "validation", "testing"), 0)
    for name in names:
        share[official_split(name)] += 1
    assert share["training"] == pytest.approx(1_600, abs=60)
    assert share["validation"] == pytest.approx(200, abs=45)
    assert share["testing"] == pytest.approx(200, abs=45)
    assert sum(official_split(n, 40.0, 0.0) == "validation" for n in names) == pytest.approx(800, abs=70)
    assert not any(official_split(n, 40.0, 0.0) == "testing" for n in names)


@pytest.mark.parametrize(("split", "number"), [("validation", 9_981), ("testing", 11_005)])
def test_the_rule_agrees_with_the_official_list(split: str, number: int) -> None:
    path = SHARED / "speech_commands" / f"{split}_list.txt"
    if not path.exists():
        if os.environ.get("CI"):
            pytest.fail(f"'{path}' must be there in CI")
        pytest.skip(f"no '{path}': the official lists are not on this machine")
    lines = path.read_text().split()
    assert len(lines) == number
    assert [line for line in lines if official_split(line) != split] == []


# Folders of clips


@pytest.fixture
def commands(tmp_path: Path) -> Path:
    """A small folder in Speech Commands' layout, without lists."""
    root = tmp_path / "speech_commands"
    for seed, (word, speaker) in enumerate((w, s) for w in ("no", "yes") for s in (*TRAINING, *VALIDATION)):
        write_sound(root / word / f"{speaker}_nohash_0.wav", seed)
    write_sound(root / "_background_noise_" / "hum.wav", 50, 30_000)
    (root / ".hidden").mkdir()
    (root / "LICENSE").write_text("CC BY 4.0\n")
    return root


def test_find_words(commands: Path) -> None:
    assert find_words(commands) == ("no", "yes")


@pytest.mark.parametrize("folder", ["absent", "empty"])
def test_no_words_is_an_error(tmp_path: Path, folder: str) -> None:
    (tmp_path / "empty" / "_background_noise_").mkdir(parents=True)
    with pytest.raises(DataError, match=f"no word folders in '.*{folder}'; give the folder .* or fetch the data set"):
        find_words(tmp_path / folder)


def test_data_errors_are_caught_with_the_rest() -> None:
    assert issubclass(DataError, LcspeechError)


def test_find_clips_by_the_hash_rule(commands: Path) -> None:
    def expected(speakers: tuple[str, ...]) -> set[str]:
        return {f"{word}/{speaker}_nohash_0.wav" for word in ("no", "yes") for speaker in speakers}

    for split, speakers in (("training", TRAINING), ("validation", VALIDATION), ("testing", ())):
        found = find_clips(commands, split)
        assert {path.relative_to(commands).as_posix() for path in found} == expected(speakers)
        assert len(found) == len(set(found))


def test_find_clips_by_the_lists(commands: Path) -> None:
    (commands / "validation_list.txt").write_text(f"no/{TRAINING[0]}_nohash_0.wav\nyes/not_here_nohash_0.wav\n")
    (commands / "testing_list.txt").write_text(f"yes/{TRAINING[1]}_nohash_0.wav\n")
    assert find_clips(commands, "validation") == [commands / "no" / f"{TRAINING[0]}_nohash_0.wav"]
    assert find_clips(commands, "testing") == [commands / "yes" / f"{TRAINING[1]}_nohash_0.wav"]
    assert len(find_clips(commands, "training")) == 8


def test_lists_hold_for_every_file_type(commands: Path) -> None:
    path = commands / "no" / f"{TRAINING[0]}_nohash_0"
    soundfile.write(path.with_suffix(".flac"), sound(0), 16_000)
    path.with_suffix(".wav").unlink()
    (commands / "validation_list.txt").write_text(f"no/{TRAINING[0]}_nohash_0.wav\n")
    assert find_clips(commands, "validation") == [path.with_suffix(".flac")]


def test_an_empty_word_folder_is_no_obstacle(commands: Path) -> None:
    (commands / "up").mkdir()
    assert len(find_clips(commands, "training")) == 6


# Reading clips


def test_read_samples_gives_the_whole_file(tmp_path: Path) -> None:
    path = write_sound(tmp_path / "a.wav", 1, 100_000)
    samples = read_samples(path, FEATURES.sample_rate)
    assert samples.dtype == np.float32
    assert samples.shape == (100_000,)
    np.testing.assert_array_equal(samples, stored(path))
    np.testing.assert_allclose(samples, sound(1, 100_000), rtol=0, atol=1e-4)


def test_clip_features_are_of_one_second() -> None:
    long = sound(3, 20_000)
    features = clip_features(long, FEATURES)
    assert features.shape == (98, 40)
    np.testing.assert_array_equal(features, log_mel(long[:16_000], FEATURES))
    short = clip_features(long[:8_000], FEATURES)
    np.testing.assert_array_equal(short, log_mel(np.pad(long[:8_000], (0, 8_000)), FEATURES))
    assert (short[50:] == FLOOR).all()


def test_read_clips(commands: Path) -> None:
    paths = find_clips(commands, "training")
    clips = read_clips(paths, ("up", "yes", "no"), FEATURES)
    assert len(clips) == 6
    assert clips.log_mel.dtype == np.float16
    assert clips.log_mel.shape == (6, 98, 40)
    assert clips.words.tolist() == [{"yes": 1, "no": 2}[path.parent.name] for path in paths]
    assert clips.names == tuple(f"{path.parent.name}/{path.stem}" for path in paths)
    for path, features in zip(paths, clips.log_mel, strict=True):
        np.testing.assert_allclose(features, clip_features(stored(path), FEATURES), atol=0.01)


def test_read_clips_takes_the_words_asked_for(commands: Path) -> None:
    clips = read_clips(find_clips(commands, "training"), ("yes",), FEATURES)
    assert clips.words.tolist() == [0, 0, 0]
    assert all(name.startswith("yes/") for name in clips.names)


def test_silent_and_broken_clips_are_left_out_and_logged(commands: Path, caplog: pytest.LogCaptureFixture) -> None:
    soundfile.write(commands / "yes" / f"{TRAINING[0]}_nohash_1.wav", np.zeros(16_000), 16_000)
    (commands / "yes" / f"{TRAINING[0]}_nohash_2.wav").write_bytes(b"this is no audio")
    (commands / "yes" / f"{TRAINING[0]}_nohash_3.wav").write_bytes(b"")
    with caplog.at_level(logging.WARNING, logger="lcspeech.train.data"):
        clips = read_clips(find_clips(commands, "training"), ("no", "yes"), FEATURES)
    assert len(clips) == 6
    assert all(name.endswith("_nohash_0") for name in clips.names)
    messages = [record.getMessage() for record in caplog.records if record.name == "lcspeech.train.data"]
    assert len(messages) == 3
    assert f"left out, it is silent: {commands / 'yes' / TRAINING[0]}_nohash_1.wav" in messages
    for take in (2, 3):
        assert any(m.startswith("left out: ") and f"{TRAINING[0]}_nohash_{take}.wav" in m for m in messages)


def test_no_clip_is_an_error(commands: Path) -> None:
    with pytest.raises(DataError, match="no clip of the words asked for; check the data folder"):
        read_clips(find_clips(commands, "training"), ("stop",), FEATURES)


# Utterances and noise


@pytest.fixture
def librispeech(tmp_path: Path) -> Path:
    root = tmp_path / "librispeech"
    chapter, other = root / "19" / "198", root / "26" / "495"
    write_sound(chapter / "19-198-0000.flac", 60, 20_000)
    write_sound(chapter / "19-198-0001.flac", 61, 24_000)
    (chapter / "19-198.trans.txt").write_text("19-198-0000 YES OR NO\n19-198-0001 THE XQZT\n19-198-0002 NOT HERE\n")
    write_sound(other / "26-495-0000.flac", 62, 16_000)
    (other / "26-495.trans.txt").write_text("26-495-0000 SHEILA'S DOG\n")
    return root


def test_read_utterances(librispeech: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lcspeech.letter_to_sound.available", lambda: False)
    found = find_utterances(librispeech)
    assert [path.relative_to(librispeech).as_posix() for path, _, _ in found] == [
        "19/198/19-198-0000.flac",
        "19/198/19-198-0001.flac",
        "26/495/26-495-0000.flac",
    ]
    first, unlisted, other = (read_utterance(*utterance, FEATURES) for utterance in found)
    assert first.words == ("yes", "or", "no")
    assert first.units == PHONEMES.encode(["Y", "EH", "S", "AO", "R", "N", "OW"])
    assert first.speaker == "19"
    assert first.log_mel.shape == (1 + (20_000 - 400) // 160, 40)
    assert first.log_mel.dtype == np.float16
    np.testing.assert_allclose(
        first.log_mel, log_mel(stored(librispeech / "19/198/19-198-0000.flac"), FEATURES), atol=0.01
    )
    assert (unlisted.words, unlisted.units, unlisted.speaker) == (("the", "xqzt"), None, "19")
    assert other.words == ("sheila's", "dog")
    assert other.units == PHONEMES.encode(["SH", "IY", "L", "AH", "Z", "D", "AO", "G"])
    assert other.speaker == "26"


def test_what_cmudict_lacks_is_spelled_by_espeak(librispeech: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def guess(word: str) -> tuple[str, ...]:
        asked.append(word)
        return ("Z", "IH", "T")

    monkeypatch.setattr("lcspeech.train.data.letter_to_sound", guess)
    units = [read_utterance(*utterance, FEATURES).units for utterance in find_utterances(librispeech)]
    assert units[1] == PHONEMES.encode(["DH", "AH", "Z", "IH", "T"])
    assert asked == ["xqzt"]


def test_no_utterances_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no utterances in '.*'; it needs LibriSpeech's layout"):
        find_utterances(tmp_path)


def test_read_noise_joins_all_recordings(tmp_path: Path) -> None:
    write_sound(tmp_path / "a" / "one.wav", 70, 4_000)
    write_sound(tmp_path / "a" / "deep" / "two.flac", 71, 5_600)
    write_sound(tmp_path / "three.wav", 72, 4_000)
    noise = read_noise(find_noise(tmp_path, [tmp_path / "a", tmp_path / "three.wav"]), FEATURES)
    frames = 1 + (4_000 - 400) // 160, 1 + (5_600 - 400) // 160
    assert noise.shape == (2 * frames[0] + frames[1], 40)
    assert noise.dtype == np.float16
    np.testing.assert_allclose(noise[-frames[0] :], log_mel(stored(tmp_path / "three.wav"), FEATURES), atol=0.01)


def test_no_noise_is_an_error() -> None:
    with pytest.raises(DataError, match=r"no noise recordings in .*give folders that hold some as --noise-dir"):
        find_noise(Path("no-such-folder"), [])


# Pictures


def test_read_pictures(tmp_path: Path) -> None:
    pictures = {f"{i}_nohash_0": picture_of(clip_features(sound(80 + i), FEATURES)) for i in range(3)}
    read = read_pictures(write_pictures(tmp_path / "yes.tar.xz", pictures))
    assert read.keys() == pictures.keys()
    for stem, picture in read.items():
        assert picture.shape == (98, 40)
        assert picture.dtype == np.float32
        np.testing.assert_allclose(picture, pictures[stem], atol=0.15)
        assert np.abs(picture - pictures[stem]).mean() < 0.02


@pytest.mark.parametrize("content", [b"", b"this is no archive"])
def test_a_file_that_is_no_archive_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "yes.tar.xz").write_bytes(content)
    with pytest.raises(DataError, match=r"cannot read the pictures in '.*yes.tar.xz'"):
        read_pictures(tmp_path / "yes.tar.xz")


def test_an_archive_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no picture")
    with tarfile.open(tmp_path / "yes.tar.xz", "w:xz") as tar:
        tar.add(tmp_path / "notes.txt", "notes.txt")
    with pytest.raises(DataError, match=r"cannot read the pictures in '.*yes.tar.xz'"):
        read_pictures(tmp_path / "yes.tar.xz")


def test_a_cut_archive_is_refused(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pictures = {str(i): rng.random((98, 40)).astype(np.float32) for i in range(10)}
    path = write_pictures(tmp_path / "yes.tar.xz", pictures)
    path.write_bytes(path.read_bytes()[:-2_000])
    with pytest.raises(DataError, match=r"cannot read the pictures in '.*yes.tar.xz'"):
        read_pictures(path)


def random_pictures(number: int, seed: int = 0) -> Floats:
    """Pictures of different darkness and contrast."""
    rng = np.random.default_rng(seed)
    low, high = rng.uniform(0, 0.4, (number, 1, 1)), rng.uniform(0.6, 1, (number, 1, 1))
    return (low + (high - low) * rng.random((number, 98, 40))).astype(np.float32)


def known_map(pictures: Floats) -> Floats:
    """A linear map of each picture: the frame before in the same band, the next band, the maximum, and a constant."""
    before = np.concatenate([pictures[:, :1], pictures[:, :-1]], 1)
    summary = pictures.max((1, 2), keepdims=True)
    return np.asarray(3 * before + np.roll(pictures, -1, 2) - 2 * summary - 5, np.float32)


def test_the_map_recovers_a_known_one() -> None:
    pictures = random_pictures(80)
    mapping = PictureMap(pictures, known_map(pictures))
    assert mapping.pairs == 80
    assert mapping.explained.shape == (40,)
    assert (mapping.explained > 0.999).all()
    assert mapping.matrix.shape == (5 * 40 + 4, 40)
    assert mapping.matrix[40:80].diagonal() == pytest.approx(np.full(40, 3.0), abs=0.05)  # the frame before
    assert mapping.matrix[[81 + b for b in range(39)], range(39)] == pytest.approx(np.ones(39), abs=0.05)
    assert np.abs(mapping.matrix[:40]).max() < 0.1
    assert np.abs(mapping.matrix[120:200]).max() < 0.1
    new = random_pictures(3, seed=1)
    for picture, expected in zip(new, known_map(new), strict=True):
        np.testing.assert_allclose(mapping(picture), expected, rtol=0, atol=0.1)


def test_the_map_leaves_poor_pairs_out() -> None:
    pictures = random_pictures(60)
    features = known_map(pictures)
    features[::20] = -14 - features[::20]  # three different recordings under one name
    mapping = PictureMap(pictures, features)
    assert mapping.pairs == 57
    assert (mapping.explained > 0.999).all()
    np.testing.assert_allclose(mapping(pictures[0]), known_map(pictures[:1])[0], rtol=0, atol=0.1)


def test_the_map_leaves_other_recordings_of_the_same_word_out() -> None:
    """They share their loud and quiet times, and no more."""
    loudness = np.random.default_rng(4).uniform(0, 0.5, (98, 1)).astype(np.float32)  # the word's, in all pictures
    pictures = np.concatenate([loudness + 0.5 * random_pictures(1, seed) for seed in range(60)])
    features = known_map(pictures)
    others = slice(0, None, 10)
    features[others] = known_map(np.concatenate([loudness + 0.5 * random_pictures(1, 100 + seed) for seed in range(6)]))
    alike = [
        np.corrcoef(known_map(p[None]).ravel(), f.ravel())[0, 1]
        for p, f in zip(pictures[others], features[others], strict=True)
    ]
    assert min(alike) > 0.5
    assert max(alike) < PictureMap.MIN_CORRELATION
    mapping = PictureMap(pictures, features)
    assert mapping.pairs == 54
    assert (mapping.explained > 0.99).all()


def test_a_map_of_nothing_but_poor_pairs_is_refused() -> None:
    features = np.random.default_rng(2).normal(size=(40, 98, 40)).astype(np.float32)
    with pytest.raises(DataError, match="no picture resembles its recording"):
        PictureMap(random_pictures(40), features)


def test_samples_are_as_rough_as_recordings() -> None:
    pictures = random_pictures(80)
    rough = np.random.default_rng(3).normal(size=(80, 98, 40)).astype(np.float32)
    mapping = PictureMap(pictures, 6 * known_map(pictures) + rough)
    generator = np.random.default_rng(0)
    added = np.stack([mapping.sample(pictures[0], generator) for _ in range(200)]) - mapping(pictures[0])
    assert added.std() == pytest.approx(1, abs=0.05)
    nearest = np.abs(added[:, None, 0] - mapping.residuals[None, :, 0]).max(2).min(1)
    assert nearest.max() < 1e-4  # each is the residual of one pair


def speakers_of(split: str, number: int) -> list[str]:
    """Made-up speakers that the official rule puts into one split."""
    names = (f"{i:08x}" for i in range(10_000))
    return [name for name in names if official_split(f"{name}_nohash_0.wav") == split][:number]


@pytest.fixture
def pictured(tmp_path: Path) -> tuple[Path, Clips]:
    """Recorded clips of "yes" and "no" and a folder with their pictures, and others of both and of "go"."""
    training, validation, testing = (speakers_of(s, 8) for s in ("training", "validation", "testing"))
    seeds = iter(range(1_000))
    recorded: dict[str, Floats] = {}
    archives: dict[str, dict[str, Floats]] = {word: {} for word in ("yes", "no", "go")}
    for word, pictures in archives.items():
        for i, speaker in enumerate((*training, *validation[:2], *testing[:2])):
            features = clip_features(sound(next(seeds)), FEATURES)
            pictures[f"{speaker}_nohash_0"] = picture_of(features)
            if word != "go" and i < 6:
                recorded[f"{word}/{speaker}_nohash_0"] = features
        write_pictures(tmp_path / "pictures" / f"{word}.tar.xz", pictures)
    words = np.array([("go", "no", "yes").index(name.split("/")[0]) for name in recorded])
    stacked = np.stack(list(recorded.values())).astype(np.float16)
    return tmp_path / "pictures", Clips(stacked, words, tuple(recorded))


def test_mapped_pictures_are_those_without_a_recording(pictured: tuple[Path, Clips]) -> None:
    folder, recorded = pictured
    training, validation = speakers_of("training", 8), speakers_of("validation", 8)
    listed = {f"{word}/{speaker}_nohash_0" for word in ("yes", "no", "go") for speaker in validation}
    new, held_out, mapping = read_mapped_pictures(folder, recorded, ("go", "no", "yes"), listed)
    expected = {f"go/{s}_nohash_0" for s in training} | {
        f"{w}/{s}_nohash_0" for w in ("yes", "no") for s in training[6:]
    }
    assert set(new.names) == expected
    assert len(new) == len(expected)
    assert set(held_out.names) == {f"{w}/{s}_nohash_0" for w in ("yes", "no", "go") for s in validation[:2]}
    assert [("go", "no", "yes")[word] for word in new.words] == [name.split("/")[0] for name in new.names]
    assert new.log_mel.dtype == held_out.log_mel.dtype == np.float16
    assert new.log_mel.shape == (len(new), 98, 40)
    assert 6 <= mapping.pairs <= 12
    # Seeds count up word by word: "yes" 0-11, "no" 12-23, "go" 24-35
    truth = clip_features(sound(24), FEATURES)
    guess = new.log_mel[new.names.index(f"go/{training[0]}_nohash_0")]
    assert np.corrcoef(guess.ravel(), truth.ravel())[0, 1] > 0.8


def test_validation_pictures_of_some_words(pictured: tuple[Path, Clips], monkeypatch: pytest.MonkeyPatch) -> None:
    folder, recorded = pictured
    monkeypatch.setattr(data, "find_clips", lambda *_: [])
    monkeypatch.setattr(data, "read_clips", lambda *_: recorded)
    listed = [f"{word}/{speaker}_nohash_0.wav" for word in ("yes", "go") for speaker in speakers_of("validation", 8)]
    (folder.parent / "validation_list.txt").write_text("\n".join(listed))
    chosen = read_validation_pictures(folder.parent, folder, FEATURES, ("go", "no", "yes"), ["go"])
    assert chosen.names == tuple(f"go/{speaker}_nohash_0" for speaker in speakers_of("validation", 2))
    assert chosen.words.tolist() == [0, 0]
    assert chosen.log_mel.shape == (2, 98, 40)


def test_a_listed_clip_teaches_the_map_nothing(pictured: tuple[Path, Clips]) -> None:
    folder, recorded = pictured
    all_but_two = set(recorded.names[2:])
    assert read_mapped_pictures(folder, recorded, ("go", "no", "yes"), all_but_two)[2].pairs <= 2


def test_words_not_asked_for_have_no_pictures(pictured: tuple[Path, Clips]) -> None:
    folder, recorded = pictured
    relabelled = Clips(recorded.log_mel, recorded.words - 1, recorded.names)
    new, held_out, _ = read_mapped_pictures(folder, relabelled, ("no", "yes"), set())
    assert {name.split("/")[0] for name in new.names} == {"no", "yes"}
    assert len(held_out) == 0
    assert held_out.log_mel.shape == (0, 98, 40)


def test_pictures_without_any_recording_are_refused(pictured: tuple[Path, Clips]) -> None:
    folder, recorded = pictured
    strangers = Clips(recorded.log_mel, recorded.words, tuple(f"{name}x" for name in recorded.names))
    with pytest.raises(DataError, match=r"no picture in '.*' has its recording in the data folder"):
        read_mapped_pictures(folder, strangers, ("go", "no", "yes"), set())


# Everything together

SOURCES = tuple(
    (name, licence, "https://example.org")
    for name, licence in (("Clips", "CC BY 4.0"), ("Talk", "CC BY 4.0"), ("Rain", "CC0"))
)


def test_read_corpus_of_clips_alone(commands: Path) -> None:
    write_sound(commands / "xqzt" / f"{TRAINING[0]}_nohash_0.wav", 90)  # a word that CMUdict does not list
    corpus = read_corpus(commands, FEATURES, sources=SOURCES)
    assert corpus.words == ("no", "yes")
    assert [len(clips) for clips in corpus.clips] == [6]
    assert [len(clips) for clips in corpus.validation] == [4]
    assert not set(corpus.clips[0].names) & set(corpus.validation[0].names)
    assert corpus.utterances == ()
    assert len(corpus.noise) == 1 + (30_000 - 400) // 160
    assert corpus.amounts() == {word: {"recordings": 3, "pictures": 0} for word in ("no", "yes")}
    assert [(source.licence, source.amount) for source in corpus.sources] == [
        ("CC BY 4.0", "6 training recordings of 2 words")
    ]


def test_read_corpus_of_everything(commands: Path, librispeech: Path, tmp_path: Path) -> None:
    pictures: dict[str, dict[str, Floats]] = {"yes": {}, "go": {}}
    for path in find_clips(commands, "training"):
        if path.parent.name == "yes":
            pictures["yes"][path.stem] = picture_of(clip_features(read_samples(path, 16_000), FEATURES))
    go = [f"{speaker}_nohash_0" for speaker in (*speakers_of("training", 3), VALIDATION[0])]
    pictures["go"] = {stem: picture_of(clip_features(sound(300 + i), FEATURES)) for i, stem in enumerate(go)}
    for word, some in pictures.items():
        write_pictures(tmp_path / "pictures" / f"{word}.tar.xz", some)
    lines = [f"{word}/{speaker}_nohash_0.wav" for word in ("go", "no", "yes") for speaker in VALIDATION]
    (commands / "validation_list.txt").write_text("\n".join(lines))
    write_sound(tmp_path / "noise" / "rain.wav", 91, 8_000)
    corpus = read_corpus(
        commands,
        FEATURES,
        logmel_dir=tmp_path / "pictures",
        librispeech_dir=librispeech,
        noise_dirs=[tmp_path / "noise"],
        sources=SOURCES,
        validation_speakers=["26"],
        synthetic_dir=librispeech,
    )
    assert corpus.words == ("go", "no", "yes")  # "go" has no recording
    assert [len(clips) for clips in corpus.clips] == [6, 3]
    assert corpus.clips[1].names == tuple(f"go/{stem}" for stem in go[:3])
    assert corpus.clips[1].words.tolist() == [0, 0, 0]
    assert [len(clips) for clips in corpus.validation] == [4, 1]
    assert corpus.validation[1].names == (f"go/{go[3]}",)
    assert sorted(set(corpus.clips[0].words.tolist())) == [1, 2]
    assert [u.speaker for u in corpus.utterances] == ["19", "19"]  # speaker 26 is kept out
    assert [u.speaker for u in corpus.synthetic] == ["19", "19", "26"]
    assert len(corpus.noise) == 1 + (30_000 - 400) // 160 + 1 + (8_000 - 400) // 160

    assert {word: amount["recordings"] for word, amount in corpus.amounts().items()} == {"go": 0, "no": 3, "yes": 3}
    assert sum(amount["pictures"] for amount in corpus.amounts().values()) == 3
    assert [source.amount for source in corpus.sources] == [
        "6 training recordings of 2 words",
        "3 training pictures",
        "2 utterances, 0.0 h",
        "3 utterances, 0.0 h",
        "1 recordings",
    ]
    assert [corpus.sources[i].name for i in (0, 2, 4)] == ["Clips", "Talk", "Rain"]
    assert corpus.sources[-1] == DataSource("Rain", "CC0", "https://example.org", "1 recordings")


def test_a_folder_of_pictures_that_is_not_there_is_told(commands: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no folder '.*nope' of log-mel pictures"):
        read_corpus(commands, FEATURES, tmp_path / "nope", sources=SOURCES)


def test_validation_recordings_are_those_kept_out_of_training(commands: Path, librispeech: Path) -> None:
    data = read_validation(commands, librispeech, [], ["26", "27"])
    assert {(clip.path, clip.words) for clip in data.clips} == {
        (commands / word / f"{speaker}_nohash_0.wav", (word,)) for word in ("no", "yes") for speaker in VALIDATION
    }
    assert [(u.path.name, u.words) for u in data.speech] == [("26-495-0000.flac", ("sheila's", "dog"))]
    assert [(n.path.parent.name, n.words) for n in data.noise] == [("_background_noise_", ())]
    assert read_validation(commands, None, [], ["26"]).speech == ()


def test_read_corpus_needs_noise(commands: Path) -> None:
    shutil.rmtree(commands / "_background_noise_")
    with pytest.raises(DataError, match="no noise recordings"):
        read_corpus(commands, FEATURES, sources=SOURCES)


def test_what_was_fetched_before_is_found_below(
    commands: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parser, settings = recipe.arguments("", tmp_path / "run", SETTINGS), load_settings(SETTINGS, overrides={})
    (tmp_path / "data" / FETCHED).parent.mkdir(parents=True)
    asked = ["--data-dir", str(tmp_path / "data")]
    monkeypatch.setattr(recipe, "processes", lambda: 2)
    with pytest.raises(UsageError, match="--download is for one process"):
        recipe.corpus_of(parser.parse_args([*asked, "--download"]), settings)
    (tmp_path / "data" / FETCHED).symlink_to(commands)
    for more in ([], ["--download"]):
        args = parser.parse_args([*asked, *more])
        assert recipe.corpus_of(args, settings).words == ("no", "yes")
        assert args.data_dir == tmp_path / "data" / FETCHED


# The download, with the network replaced


@pytest.fixture
def archive(commands: Path, tmp_path: Path) -> Path:
    """A small archive laid out as the published one."""
    path = tmp_path / "small.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        tar.add(commands, ".")
    return path


@pytest.mark.filterwarnings("ignore:Python 3.14 will:DeprecationWarning")  # torchaudio's extraction sets no filter
def test_download_fetches_once_and_unpacks(archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = pytest.importorskip("torchaudio.datasets.speechcommands")
    fetched: list[tuple[str, str]] = []

    def fetch(url: str, target: str, hash_prefix: str) -> None:
        fetched.append((url, hash_prefix))
        shutil.copy(archive, target)

    monkeypatch.setattr(module, "download_url_to_file", fetch)
    root = download(tmp_path / "new" / "folder")
    assert [url.rsplit("/", 1)[1] for url, _ in fetched] == ["speech_commands_v0.02.tar.gz"]
    assert fetched[0][1].startswith("af14739ee7dc3114")  # its published checksum is asked for
    assert root.is_relative_to(tmp_path / "new" / "folder")
    assert find_words(root) == ("no", "yes")
    assert len(find_clips(root, "training")) == 6
    assert len(read_corpus(root, FEATURES, sources=SOURCES).validation[0]) == 4
    assert download(tmp_path / "new" / "folder") == root
    assert len(fetched) == 1


@pytest.mark.parametrize(
    "error",
    [URLError("no route to host"), OSError(28, "no space left on device"), RuntimeError("invalid hash value")],
)
def test_a_failed_download_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    module = pytest.importorskip("torchaudio.datasets.speechcommands")

    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(module, "download_url_to_file", fail)
    with pytest.raises(DataError, match=r"cannot download Speech Commands into '.*': .*; check network and disk"):
        download(tmp_path)
    assert list(tmp_path.iterdir()) == []  # a second try starts afresh


@pytest.mark.filterwarnings("ignore:Python 3.14 will:DeprecationWarning")
def test_an_interrupted_extraction_is_done_again(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = pytest.importorskip("torchaudio.datasets.speechcommands")
    monkeypatch.setattr(module, "download_url_to_file", lambda _, target, **__: shutil.copy(archive, target))
    extract = module._extract_tar

    def killed(_: str, folder: str) -> None:
        Path(folder).mkdir(parents=True)
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "_extract_tar", killed)
    with pytest.raises(KeyboardInterrupt):
        download(tmp_path / "root")
    monkeypatch.setattr(module, "_extract_tar", extract)
    assert find_words(download(tmp_path / "root")) == ("no", "yes")
