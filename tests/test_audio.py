"""Files and streams to samples: every format, every rate, and whatever is no audio."""

from __future__ import annotations

import io
import os
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from lcspeech import AudioError, MissingDependencyError, UsageError
from lcspeech.audio import Resampler, duration, find_audio, read_blocks, read_pcm, to_mono

RATE = 16_000
Floats = NDArray[np.float32]


def tone(seconds: float, rate: int, hz: float = 440.0, level: float = 0.5) -> Floats:
    return (level * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def noise(samples: int, seed: int = 0) -> Floats:
    return np.random.default_rng(seed).uniform(-0.5, 0.5, samples).astype(np.float32)


def read(path: Path, rate: int = RATE) -> Floats:
    return np.concatenate(list(read_blocks(path, rate)))


def resample(samples: Floats, from_rate: int, to_rate: int, blocks: list[int] | None = None) -> Floats:
    resampler, start, parts = Resampler(from_rate, to_rate), 0, []
    for size in [*(blocks or []), len(samples)]:
        parts.append(resampler.process(samples[start : start + size]))
        start += size
    return np.concatenate([*parts, resampler.flush()])


# Resampling


@given(st.lists(st.integers(0, 3_000), max_size=8), st.sampled_from([8_000, 11_025, 44_100, 48_000, 96_000]))
@settings(max_examples=25, deadline=None)
def test_blocks_of_any_size_give_the_same_bits(blocks: list[int], rate: int) -> None:
    samples = noise(9_000)
    np.testing.assert_array_equal(resample(samples, rate, RATE, blocks), resample(samples, rate, RATE))


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 44_100, 48_000, 96_000, 192_000])
@pytest.mark.parametrize("samples", [1, 1_000, 44_100])
def test_the_length_follows_from_the_rates(rate: int, samples: int) -> None:
    assert len(resample(noise(samples), rate, RATE)) == pytest.approx(samples * RATE / rate, abs=0.51)


@pytest.mark.parametrize("rate", [8_000, 44_100, 48_000, 96_000])
def test_a_tone_keeps_its_frequency_level_and_phase(rate: int) -> None:
    out = resample(tone(1.0, rate), rate, RATE)
    np.testing.assert_allclose(out[800:-800], tone(1.0, RATE)[800:-800], atol=1e-3)


def test_what_the_new_rate_cannot_hold_is_filtered() -> None:
    assert np.abs(resample(tone(1.0, 48_000, hz=12_000), 48_000, RATE)[800:-800]).max() < 1e-3


def test_equal_rates_pass_through() -> None:
    samples = noise(100)
    np.testing.assert_array_equal(resample(samples, RATE, RATE, [7]), samples)


@pytest.mark.parametrize("rate", [8_000, 44_100, 48_000])
@pytest.mark.parametrize("cut", [0, 10, 5_000, 40_001])
def test_a_resampler_goes_on_from_a_saved_state(rate: int, cut: int) -> None:
    samples = noise(60_000)
    first, second = Resampler(rate, RATE), Resampler(rate, RATE)
    head = first.process(samples[:cut])
    second.restore(first.state())
    tail = [second.process(samples[cut:]), second.flush()]
    np.testing.assert_allclose(np.concatenate([head, *tail]), resample(samples, rate, RATE), atol=1e-5)


def test_a_resampler_keeps_no_hold_of_a_block_that_is_used_again() -> None:
    samples, resampler = noise(30_000), Resampler(48_000, RATE)
    block = np.empty(100, np.float32)
    for start in range(0, len(samples), 100):
        block[:] = samples[start : start + 100]
        resampler.process(block)
    recent = resampler.state()["recent"]
    np.testing.assert_array_equal(recent, samples[-len(recent) :])
    assert 12_000 <= len(recent) < 12_003


@pytest.mark.parametrize("rate", [0, -8_000, 16, 16_000.5, float("nan")])
def test_an_impossible_rate_is_refused(rate: Any) -> None:
    for rates in ((rate, RATE), (RATE, rate)):
        with pytest.raises(AudioError, match=f"a sample rate of {rate} Hz; give a whole number, 1000 or more"):
            Resampler(*rates)


# Samples


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        (np.array([-32_768, 0, 16_384], np.int16), [-1, 0, 0.5]),
        (np.array([0, 128, 192], np.uint8), [-1, 0, 0.5]),
        (np.array([-(2**31), 2**30], np.int32), [-1, 0.5]),
        (np.array([0.25, -1.5]), [0.25, -1.5]),
        (np.array([[0.5, 0.0], [1.0, -1.0]], np.float32), [0.25, 0]),
        (np.array([[100, -100]] * 3, np.int16), [0, 0, 0]),
        (np.empty((0, 2)), []),
        ([0.5, 0.25], [0.5, 0.25]),
    ],
)
def test_any_numbers_become_mono_floats(block: Any, expected: list[float]) -> None:
    mono = to_mono(block)
    assert mono.dtype == np.float32
    np.testing.assert_allclose(mono, expected, atol=1e-7)


@pytest.mark.parametrize(
    "block", [np.zeros((2, 2, 2)), np.float32(1), np.array(["a"]), np.zeros(3, complex), np.zeros((3, 0))]
)
def test_other_shapes_and_types_are_refused(block: Any) -> None:
    with pytest.raises(AudioError, match=r"give numbers, \[n\] or \[n, channels\]"):
        to_mono(block)


@pytest.mark.parametrize(
    ("block", "told"),
    [
        ([100, -100], "64-bit integers.*give np.int16"),  # a list of what was recorded in 16 bits
        (np.array([[100, -100]]), "64-bit integers.*give np.int16"),
        (np.array([100], np.uint64), "64-bit integers.*give np.int16"),
        (b"\0\0\1\0", "give np.frombuffer"),
        (bytearray(4), "give np.frombuffer"),
        (memoryview(b"\0\0"), "give np.frombuffer"),
    ],
)
def test_numbers_of_an_unknown_size_are_refused(block: Any, told: str) -> None:
    with pytest.raises(AudioError, match=told):
        to_mono(block)


@pytest.mark.parametrize("tag", [b"", b"ID3\x03\0\0\0\0\x01\x00" + bytes(128)])
def test_an_mp3_that_says_how_long_it_is_must_be_as_long(tmp_path: Path, tag: bytes) -> None:
    path = tmp_path / "talk.mp3"
    sound = np.random.default_rng(0).normal(0, 0.1, 20 * RATE)
    soundfile.write(path, sound, RATE, format="MP3", subtype="MPEG_LAYER_III")
    whole, place = path.read_bytes(), path.stat().st_size * 3 // 10
    path.write_bytes(tag + whole)
    assert len(np.concatenate(list(read_blocks(path, RATE)))) == pytest.approx(20 * RATE, abs=0.1 * RATE)
    path.write_bytes(tag + whole[:place])
    blocks = read_blocks(path, RATE)
    heard = [next(blocks)]
    with pytest.raises(AudioError, match="ends before the length in its header; it is damaged"):
        heard.extend(blocks)
    assert 4 * RATE < sum(map(len, heard)) < 8 * RATE
    unknown = whole.replace(b"Xing", bytes(4), 1)  # then the length is a guess, of which nothing can be told
    path.write_bytes(tag + unknown[:place])
    assert RATE < len(np.concatenate(list(read_blocks(path, RATE)))) < 8 * RATE


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
def test_samples_that_are_not_finite_are_refused(value: float) -> None:
    with pytest.raises(AudioError, match="not finite"):
        to_mono(np.array([0.0, value]))
    with np.errstate(over="ignore"):
        narrow = np.array([0.0, value]).astype(np.float32)
    with pytest.raises(AudioError, match="not finite"):
        to_mono(narrow)


# Finding files


def test_directories_are_searched_in_order_and_hidden_files_are_not(tmp_path: Path) -> None:
    for name in ("b.wav", "a/z.FLAC", "a/c.mp3", ".hidden.wav", ".git/x.wav", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    found = find_audio(["given.xyz", tmp_path])
    assert found == [Path("given.xyz"), tmp_path / "a" / "c.mp3", tmp_path / "a" / "z.FLAC", tmp_path / "b.wav"]


def test_an_empty_name_is_not_the_working_directory() -> None:
    with pytest.raises(AudioError, match="empty"):
        find_audio([""])


def test_a_file_may_have_a_name_of_any_bytes(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"a\xff.wav")
    soundfile.write(os.fsencode(path), tone(0.1, RATE), RATE)
    assert len(read(path)) == round(0.1 * RATE)


def test_channels_come_second() -> None:
    with pytest.raises(AudioError, match=r"\.T"):
        to_mono(np.zeros((2, 1_600)))


class Pieces(io.BytesIO):
    """What a pipe gives whose writer writes so many bytes at a time."""

    size = 10

    def read1(self, size: int | None = -1, /) -> bytes:
        return super().read(min(self.size, size or 0))


@pytest.mark.parametrize("source", [io.BytesIO, Pieces])
@pytest.mark.parametrize("begin", [b"fLaC", b"OggS", b"ID3"])
def test_a_compressed_file_is_no_pcm(begin: bytes, source: type[io.BytesIO]) -> None:
    with pytest.raises(AudioError, match="spot"):
        list(read_pcm(source(begin + bytes(1_000)), RATE, 1, RATE))


@pytest.mark.parametrize("count", [0, 1, 2, 35, 36, 37, 100, 1_001])
def test_pcm_in_pieces_is_heard_to_the_end(count: int) -> None:
    content = np.arange(1, 1 + count, dtype=np.uint8).tobytes()
    blocks = list(read_pcm(Pieces(content), RATE, 1, RATE, block_seconds=3 / RATE))
    heard = np.concatenate([np.empty(0, np.float32), *blocks])
    np.testing.assert_array_equal(heard, np.frombuffer(content[: count // 2 * 2], "<i2") / np.float32(32_768))
    assert max(map(len, blocks)) <= 3


@pytest.mark.parametrize("source", [io.BytesIO, Pieces])
@pytest.mark.parametrize(("rate", "channels", "fits"), [(RATE, 1, True), (48_000, 1, False), (RATE, 2, False)])
def test_a_wav_is_pcm_if_it_is_of_the_rate_and_channels_told(
    rate: int, channels: int, fits: bool, source: type[io.BytesIO]
) -> None:
    content = source()
    soundfile.write(content, np.zeros((100, channels)), rate, format="WAV", subtype="PCM_16")
    content.seek(0)
    blocks = read_pcm(content, RATE, 1, RATE)
    if fits:
        assert sum(map(len, blocks)) == 122  # a header of 44 bytes, too
        return
    with pytest.raises(AudioError, match="--rate"):
        list(blocks)


def test_a_directory_without_audio_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match=rf"no audio in '{tmp_path}'; its names must end in \.aif"):
        find_audio([tmp_path])


# Files


@pytest.mark.parametrize(
    ("name", "subtype", "rate", "channels", "tolerance"),
    [
        ("u8.wav", "PCM_U8", 16_000, 1, 0.01),
        ("s16.wav", "PCM_16", 16_000, 1, 1e-4),
        ("s24.wav", "PCM_24", 44_100, 2, 2e-3),
        ("s32.aiff", "PCM_32", 8_000, 1, 2e-3),
        ("float.wav", "FLOAT", 96_000, 1, 2e-3),
        ("double.caf", "DOUBLE", 48_000, 1, 2e-3),
        ("surround.wav", "PCM_16", 48_000, 6, 2e-3),
        ("flac.flac", "PCM_24", 22_050, 2, 2e-3),
        ("vorbis.ogg", "VORBIS", 44_100, 1, 0.05),
        ("opus.opus", "OPUS", 48_000, 1, 0.05),
        ("mp3.mp3", "MPEG_LAYER_III", 44_100, 2, 0.05),
        ("law.au", "ULAW", 8_000, 1, 0.05),
    ],
)
def test_any_format_rate_and_channel_count(
    name: str, subtype: str, rate: int, channels: int, tolerance: float, tmp_path: Path
) -> None:
    path = tmp_path / name
    sound = tone(1.0, rate)
    form = {"format": "OGG"} if name.endswith("opus") else {}
    soundfile.write(path, np.stack([sound] * channels, axis=1), rate, subtype=subtype, **form)
    samples = read(path)
    assert duration(path) == pytest.approx(1.0, abs=0.1)
    assert len(samples) == pytest.approx(RATE, abs=0.06 * RATE)  # MP3 pads
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    assert spectrum.argmax() * RATE / len(samples) == pytest.approx(440, abs=1.1)
    assert np.abs(samples[2_000:-2_000]).max() == pytest.approx(0.5, abs=0.002 + tolerance)


def test_the_channels_are_averaged(tmp_path: Path) -> None:
    path = tmp_path / "two.wav"
    soundfile.write(path, np.stack([tone(0.1, RATE), -tone(0.1, RATE)], axis=1), RATE)
    assert np.abs(read(path)).max() < 1e-4


@pytest.mark.parametrize(
    "samples", [np.zeros(1, np.float32), np.full(1, 0.5, np.float32), np.zeros(48_000, np.float32)]
)
def test_one_sample_and_silence_are_audio(samples: Floats, tmp_path: Path) -> None:
    path = tmp_path / "short.wav"
    soundfile.write(path, samples, RATE)
    np.testing.assert_allclose(read(path), samples, atol=1e-4)


@pytest.mark.parametrize("seconds", [0.01, 0.3, 100.0])
def test_blocks_do_not_change_the_samples(seconds: float, tmp_path: Path) -> None:
    path = tmp_path / "noise.wav"
    soundfile.write(path, noise(44_100), 44_100, subtype="FLOAT")
    parts = list(read_blocks(path, RATE, seconds))
    np.testing.assert_array_equal(np.concatenate(parts), read(path))
    assert max(map(len, parts)) <= max(1_000, seconds * RATE * 1.2)


def test_a_three_hour_file_is_streamed(tmp_path: Path) -> None:
    path = tmp_path / "long.wav"
    soundfile.write(path, np.zeros(8_000, np.int16), 8_000, subtype="PCM_U8")
    header = bytearray(path.read_bytes()[:44])
    frames = 3 * 3600 * 8_000
    header[4:8], header[40:44] = (frames + 36).to_bytes(4, "little"), frames.to_bytes(4, "little")
    path.write_bytes(header)
    os.truncate(path, 44 + frames)  # a sparse file
    assert duration(path) == 3 * 3600
    tracemalloc.start()
    try:
        total = sum(len(block) for block in read_blocks(path, RATE))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert total == 3 * 3600 * RATE
    assert peak < 6e6  # of 690 MB


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty (0 bytes); record or copy it again"),
        (b"no audio at all" * 100, "ormat not recognised); convert it to WAV"),
        (b"RIFF", "; convert it to WAV"),
    ],
)
def test_what_is_no_audio_is_refused(content: bytes, said: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.wav"
    path.write_bytes(content)
    with pytest.raises(AudioError) as error:
        read_blocks(path, RATE)
    assert str(path) in str(error.value)
    assert said in str(error.value)


def test_a_missing_file_a_directory_and_a_forbidden_one(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match=r"cannot open '.*none.wav': No such file or directory; check its name"):
        read_blocks(tmp_path / "none.wav", RATE)
    with pytest.raises(AudioError, match=r"cannot open '.*': embedded null byte; check its name"):
        read(tmp_path / "a\0b.wav")
    with pytest.raises(AudioError, match="is a directory; give a file"):
        read_blocks(tmp_path, RATE)


@pytest.mark.parametrize("name", ["cut.wav", "cut.aiff", "cut.au", "cut.w64", "cut.rf64"])
def test_a_truncated_file_gives_what_it_holds_and_then_an_error(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    soundfile.write(path, tone(2.0, RATE), RATE, subtype="PCM_16")
    os.truncate(path, path.stat().st_size - 2 * RATE)
    parts: list[Floats] = []
    with pytest.raises(AudioError, match=rf"{name}' at 1\.0 s ends before the length in its header; it is damaged"):
        parts.extend(read_blocks(path, RATE, 0.25))
    np.testing.assert_allclose(np.concatenate(parts), tone(1.0, RATE), atol=1e-4)


@pytest.mark.parametrize("length", [0x7FFFF000, 0x7FFFFFFF, 0xFFFFFFFF])
def test_a_wav_from_a_pipe_does_not_know_its_length(length: int, tmp_path: Path) -> None:
    path = tmp_path / "piped.wav"
    soundfile.write(path, tone(1.0, RATE), RATE)
    content = bytearray(path.read_bytes())
    content[4:8] = content[40:44] = length.to_bytes(4, "little")
    path.write_bytes(content)
    np.testing.assert_allclose(read(path), tone(1.0, RATE), atol=1e-4)


def test_a_header_without_samples_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "none.wav"
    soundfile.write(path, np.empty(0, np.float32), RATE)
    with pytest.raises(AudioError, match="holds no samples, says its header"):
        read_blocks(path, RATE)


def test_a_file_of_nan_is_refused_where_it_begins(tmp_path: Path) -> None:
    path = tmp_path / "nan.wav"
    samples = tone(2.0, RATE)
    samples[24_000:] = np.nan
    soundfile.write(path, samples, RATE, subtype="FLOAT")
    parts: list[Floats] = []
    with pytest.raises(AudioError, match=r"nan.wav' at 1.5 s holds samples that are not finite"):
        parts.extend(read_blocks(path, RATE, 0.5))
    np.testing.assert_array_equal(np.concatenate(parts), samples[:24_000])


def test_damage_in_the_middle_of_a_flac_is_told(tmp_path: Path) -> None:
    path = tmp_path / "hurt.flac"
    soundfile.write(path, noise(10 * RATE), RATE)
    content = bytearray(path.read_bytes())
    content[len(content) // 2 :] = bytes(len(content) - len(content) // 2)
    path.write_bytes(content)
    parts: list[Floats] = []
    with pytest.raises(AudioError, match=r"hurt.flac' at \d\.\d s.* damaged, copy it again"):
        parts.extend(read_blocks(path, RATE))
    held = np.concatenate(parts)  # though blocks are of four seconds, not one is lost before the damage
    assert 4 * RATE <= len(held) < 5 * RATE
    np.testing.assert_allclose(held[: 3 * RATE], noise(10 * RATE)[: 3 * RATE], atol=1e-4)


def test_without_libsndfile_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "soundfile", None)
    with pytest.raises(MissingDependencyError, match="pip install soundfile"):
        read_blocks(tmp_path / "any.wav", RATE)


# Pipes


class Drops(io.RawIOBase):
    """A pipe that gives its content in pieces of the sizes given, over and over."""

    def __init__(self, content: bytes, sizes: list[int]) -> None:
        self.content, self.sizes, self.turn = content, sizes, 0

    def read1(self, size: int = -1) -> bytes:
        size = min(size, self.sizes[self.turn % len(self.sizes)])
        self.turn += 1
        piece, self.content = self.content[:size], self.content[size:]
        return piece


@given(st.lists(st.integers(1, 900), min_size=1, max_size=6), st.integers(1, 3))
@settings(max_examples=25, deadline=None)
def test_pcm_comes_out_as_it_went_in(sizes: list[int], channels: int) -> None:
    samples = np.random.default_rng(0).integers(-32_768, 32_767, (2_000, channels)).astype("<i2")
    blocks = list(read_pcm(Drops(samples.tobytes(), sizes), RATE, channels, RATE, 0.01))  # type: ignore[arg-type]
    np.testing.assert_allclose(np.concatenate(blocks), (samples / 32_768).mean(1), atol=1e-6)
    assert max(map(len, blocks)) <= 161


def test_a_frame_that_is_cut_off_is_dropped() -> None:
    content = np.array([100, 200, 300], "<i2").tobytes() + b"\x01"
    assert len(np.concatenate(list(read_pcm(io.BytesIO(content), RATE, 1, RATE)))) == 3
    assert len(np.concatenate(list(read_pcm(io.BytesIO(content), RATE, 2, RATE)))) == 1


def test_pcm_is_resampled() -> None:
    content = (tone(1.0, 48_000) * 32_767).astype("<i2").tobytes()
    samples = np.concatenate(list(read_pcm(io.BytesIO(content), 48_000, 1, RATE)))
    np.testing.assert_allclose(samples[800:-800], tone(1.0, RATE)[800:-800], atol=2e-3)


def test_impossible_pcm_is_refused_at_once() -> None:
    with pytest.raises(AudioError, match="0 channels; give one or more"):
        read_pcm(io.BytesIO(), RATE, 0, RATE)
    with pytest.raises(AudioError, match="a sample rate of 0 Hz"):
        read_pcm(io.BytesIO(), 0, 1, RATE)


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf")])
def test_blocks_are_longer_than_nothing(tmp_path: Path, seconds: float) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(100), 16_000)
    with pytest.raises(UsageError, match=r"blocks of .* s; give more than 0"):
        read_blocks(tmp_path / "a.wav", 16_000, seconds)


def test_folders_that_are_links_are_searched_once(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "data" / "word").mkdir(parents=True)
    (tmp_path / "there" / "1.wav").touch()
    (tmp_path / "data" / "word" / "linked").symlink_to(tmp_path / "there")
    (tmp_path / "data" / "word" / "again").symlink_to(tmp_path / "data")
    assert find_audio([tmp_path / "data"]) == [tmp_path / "data" / "word" / "linked" / "1.wav"]


def test_planar_audio_in_short_blocks_is_refused() -> None:
    with pytest.raises(AudioError, match=r"160 channels; give \[n, channels\]"):
        to_mono(np.zeros((2, 160), np.float32))


@pytest.mark.parametrize("level", [0.0, 0.5, 99.0])
def test_loud_samples_within_the_bounds_pass(level: float) -> None:
    samples = np.full(1000, level, np.float32)
    assert to_mono(samples) is samples
