"""Any audio file or PCM stream -> float32 mono blocks at the rate asked for.

Files are decoded by libsndfile and streamed from disk; rates are changed by libsoxr, whose output does not depend on
how the input is cut into blocks.
"""

from __future__ import annotations

import itertools
import math
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from lcspeech.errors import AudioError, MissingDependencyError, UsageError

Floats = NDArray[np.float32]
State = dict[str, NDArray[np.generic]]

SUFFIXES = frozenset(
    (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aiff", ".aif", ".aifc", ".au", ".snd", ".caf", ".w64", ".rf64")
)
"""Names that are taken for audio when a directory is searched."""

_REPLAY = 4_000  # samples at the lower rate that refill soxr's filters: 4 times what they need at any rate
_PACKED = (b"fLaC", b"OggS", b"ID3", b"FORM", b"caff")  # how files begin that cannot be heard as they are
_SLOWEST = 1_000  # Hz
_MOST_CHANNELS = 64  # of an array; what seems to have more is the other way round
_FAR = 100.0  # beyond this floats are no samples in [-1, 1]; squared, they would overflow some day
_SLACK = 64  # bytes by which headers are wrong about files that are whole
_LARGEST = 2**31 - 2**16  # bytes from which a header's length says "until the end"
_UNKNOWN_FRAMES = 2**62  # libsndfile's length of a stream that does not say how long it is lies above


class Resampler:
    """Changes the sample rate of a stream. Any blocks give the same samples, to the bit; equal rates pass through.

    n samples become ``round(n * to_rate / from_rate)``. The output lags by what soxr's filters hold: to 16 kHz,
    at most 37 ms from 48 kHz, 40 ms from 44.1 kHz, 79 ms from 96 and 192 kHz, 84 ms from 11.025 kHz, 116 ms from 8 kHz.
    """

    def __init__(self, from_rate: int, to_rate: int) -> None:
        """Rates in Hz.

        Raises:
            AudioError: for a rate below 1000 Hz, as one in kHz would be, or one that is no whole number.
        """
        for rate in (from_rate, to_rate):
            if not rate >= _SLOWEST or rate % 1:
                raise AudioError(f"a sample rate of {rate} Hz; give a whole number, {_SLOWEST} or more")
        self.from_rate, self.to_rate = int(from_rate), int(to_rate)
        divisor = math.gcd(self.from_rate, self.to_rate)
        self._in, self._out = self.from_rate // divisor, self.to_rate // divisor  # so many samples become so many
        self._replay = math.ceil(_REPLAY * self.from_rate / min(self.from_rate, self.to_rate))
        self._soxr: Any = None if self._in == self._out else self._open()
        self._recent: list[Floats] = []  # blocks of input, from a multiple of _in on, at least the replay's length
        self._recent_start = self._recent_samples = 0  # their place in the input, and how many samples they hold
        self._produced = 0  # output samples that came from soxr
        self._delivered = 0  # output samples that went to the caller
        self._ready = np.empty(0, np.float32)  # what a replay gave sooner than the first time

    def process(self, samples: Floats) -> Floats:
        """Output that the block ``[n]`` completes, ``[m]``."""
        if self._soxr is None:
            return samples
        if len(samples):
            self._recent.append(samples.copy())
        self._recent_samples += len(samples)
        if self._recent_samples > 2 * self._replay:  # seldom, since blocks may be of one sample
            self._forget()
        return self._deliver(self._soxr.resample_chunk(samples))

    def _forget(self) -> None:
        """Make one block of the recent ones, without what no replay needs."""
        start = self._recent_start + self._recent_samples - self._replay
        skipped = max(0, start // self._in * self._in - self._recent_start)
        recent = np.concatenate([np.empty(0, np.float32), *self._recent])[skipped:].copy()
        self._recent, self._recent_samples = [recent], len(recent)
        self._recent_start += skipped

    def flush(self) -> Floats:
        """The rest of the output; the stream ends here."""
        if self._soxr is None:
            return np.empty(0, np.float32)
        return self._deliver(self._soxr.resample_chunk(np.empty(0, np.float32), last=True))

    def state(self) -> State:
        """What `restore` needs: soxr's own state is opaque, so the last input stands in for it."""
        self._forget()
        return {"recent": self._recent[0].copy(), "places": np.array([self._recent_start, self._delivered])}

    def restore(self, state: State) -> None:
        """Go on from a state of a resampler of the same rates: its recent input is played again.

        What follows agrees within 1e-6 (measured: 3e-7) for all usual rates, however long the stream. For ratios of
        which soxr rounds the step, such as 47999:16000, it drifts apart by 2e-6 in 5 s and 6e-4 in 20 minutes.
        """
        recent = np.array(state["recent"], np.float32)
        self._recent, self._recent_samples = [recent], len(recent)
        self._recent_start, self._delivered = (int(place) for place in state["places"].tolist())
        if self._soxr is not None:
            self._soxr = self._open()
            self._produced = self._recent_start // self._in * self._out
            self._ready = self._new(self._soxr.resample_chunk(recent))

    def _deliver(self, output: Floats) -> Floats:
        output = np.concatenate([self._ready, self._new(output)])
        self._ready = self._ready[:0]
        self._delivered += len(output)
        return output

    def _new(self, output: Floats) -> Floats:
        """What of soxr's output was not delivered before."""
        skip = max(0, self._delivered - self._produced)
        self._produced += len(output)
        return output[skip:]

    def _open(self) -> Any:
        import soxr

        return soxr.ResampleStream(self.from_rate, self.to_rate, 1, dtype="float32", quality="HQ")


def resampled(samples: Floats, from_rate: int, to_rate: int) -> Floats:
    """All of a sound ``[n]`` at another sample rate, in Hz."""
    resampler = Resampler(from_rate, to_rate)
    return np.concatenate([resampler.process(samples), resampler.flush()])


def to_mono(block: NDArray[Any]) -> Floats:
    """``[n]`` or ``[n, channels]`` of floats in [-1, 1] or of integers -> float32 ``[n]``, the mean of the channels.

    Raises:
        AudioError: for other shapes or types, and for samples that are not finite, or far beyond [-1, 1].
    """
    if isinstance(block, bytes | bytearray | memoryview):
        raise AudioError("samples as bytes, which do not say of which kind; give np.frombuffer(data, np.int16), say")
    block = np.asarray(block)
    if block.ndim == 2 and block.shape[1] == 1:
        block = block[:, 0]
    if block.ndim == 1 and block.dtype == np.float32 and _in_range(block):
        return block  # nearly always
    if block.ndim not in {1, 2} or block.dtype.kind not in "fiu" or block.shape[1:] == (0,):
        raise AudioError(f"samples of shape {block.shape} and type {block.dtype}; give numbers, [n] or [n, channels]")
    if block.ndim == 2 and block.shape[1] > _MOST_CHANNELS:
        raise AudioError(f"samples of {block.shape[1]} channels; give [n, channels], perhaps with .T")
    if block.dtype.kind in "iu" and block.dtype.itemsize == 8 and block.size:  # what numpy makes of Python's integers
        raise AudioError("samples of 64-bit integers, of which nobody says how large they may be; give np.int16, say")
    if block.dtype.kind != "f":
        limits = np.iinfo(block.dtype)
        centre = 0 if limits.min < 0 else (limits.max + 1) // 2
        block = (block.astype(np.float64) - centre) / (limits.max + 1 - centre)
    with np.errstate(over="ignore", invalid="ignore"):  # seen below
        block = block.astype(np.float32, copy=False)
        mono: Floats = block if block.ndim == 1 else block.mean(1)
    if not np.isfinite(mono).all():
        raise AudioError("samples that are not finite (NaN or infinity); check what produced them")
    if not _in_range(mono):
        raise AudioError(f"floats up to {abs(mono).max():.4g}; they go from -1 to 1, so divide 16-bit samples by 32768")
    return mono


def _in_range(samples: Floats) -> bool:
    """Whether they may be meant as floats in [-1, 1]; a NaN may not."""
    if np.vdot(samples, samples) < _FAR**2:  # nearly always, and cheaper; dot warns where it overflows
        return True
    return bool(samples.min(initial=0.0) > -_FAR and samples.max(initial=0.0) < _FAR)


def find_audio(paths: Iterable[str | Path]) -> list[Path]:
    """Files as given, and the audio files in directories, at any depth, in order of their names; none that is hidden.

    Raises:
        AudioError: for a directory that holds none, and for an empty name.
    """
    files: list[Path] = []
    for name in paths:
        if not str(name):  # of a variable that is not set, and not the working directory
            raise AudioError("an empty file name; give a file or a folder")
        path = Path(name)
        try:
            is_directory = path.is_dir()
        except OSError:  # whoever opens it reports it
            is_directory = False
        if not is_directory:
            files.append(path)
            continue
        try:
            found = sorted(file for file in files_below(path) if file.suffix.lower() in SUFFIXES and file.is_file())
        except OSError as error:  # a folder that vanishes meanwhile, or must not be read
            raise AudioError(f"cannot look through '{path}': {error}") from error
        if not found:
            raise AudioError(f"no audio in '{path}'; its names must end in {', '.join(sorted(SUFFIXES))}")
        files += found
    return files


def files_below(folder: Path) -> Iterator[Path]:
    """What is in a folder at any depth, also in folders that are links, but each folder once; nothing hidden.

    Raises:
        OSError: of a folder that vanishes meanwhile, or must not be read.
    """

    def fail(error: OSError) -> None:
        raise error

    searched: set[str] = set()
    for parent, folders, names in os.walk(folder, followlinks=True, onerror=fail):
        real = os.path.realpath(parent)
        if real in searched:
            folders.clear()
            continue
        searched.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(parent, name) for name in names if not name.startswith("."))


def duration(path: str | Path) -> float | None:
    """Seconds of audio in a file by its header, None if that does not say.

    Raises:
        AudioError: if it cannot be read.
    """
    with _open(path) as file:
        return None if file.frames > _UNKNOWN_FRAMES else float(file.frames / file.samplerate)


def read_blocks(path: str | os.PathLike[str], sample_rate: int, block_seconds: float = 4.0) -> Iterator[Floats]:
    """A file's samples as mono blocks at `sample_rate` Hz, streamed from disk.

    The file is opened at once, the rest is read as the blocks are taken.

    Raises:
        UsageError: if blocks are not longer than nothing.
        AudioError: if the file cannot be opened, or, later, when a part of it cannot be decoded, is not finite or far
            beyond [-1, 1]. What comes before that part is delivered first.
    """
    if not 0 < block_seconds < math.inf:
        raise UsageError(f"blocks of {block_seconds} s; give more than 0")
    file = _open(path)
    resampler = Resampler(file.samplerate, sample_rate)
    size = max(1, int(block_seconds * file.samplerate))
    pieces = math.ceil(block_seconds)  # nothing of a piece that is damaged can be had, so none is longer than a second
    return _resampled(file, _gathered(_decoded(file, str(path), math.ceil(size / pieces)), pieces), resampler)


def _resampled(file: Any, blocks: Iterator[Floats], resampler: Resampler) -> Iterator[Floats]:
    with file:
        try:
            for block in blocks:
                yield resampler.process(block)
        except AudioError:
            yield resampler.flush()
            raise
        yield resampler.flush()


def _gathered(pieces: Iterator[Floats], count: int) -> Iterator[Floats]:
    """Each `count` pieces as one; when an error ends them, those before it come first."""
    held: list[Floats] = []
    damage = None
    try:
        for piece in pieces:
            held.append(piece)
            if len(held) == count:
                yield np.concatenate(held)
                held.clear()
    except AudioError as error:
        damage = error
    if held:
        yield np.concatenate(held)
    if damage:
        raise damage


def _decoded(file: Any, path: str, size: int) -> Iterator[Floats]:
    import soundfile

    position = 0
    while True:
        place = f"'{path}' at {position / file.samplerate:.1f} s"
        try:
            mono = to_mono(file.read(size, dtype="float32", always_2d=True))
        except soundfile.LibsndfileError as error:
            raise AudioError(f"cannot decode {place} ({_reason(error)}); it is damaged, copy it again") from error
        except AudioError as error:
            raise AudioError(f"{place} holds {error}") from error
        if not len(mono):
            break
        position += len(mono)
        yield mono
    # libsndfile ends quietly at some cuts, and only the header knows what should have come
    missing = position < file.frames <= _UNKNOWN_FRAMES
    if file.format.startswith("MP3"):  # mostly a guess, and then without what the encoder added at the ends
        missing = missing and file.frames - position > file.samplerate and _counts_its_frames(Path(path))
    if missing or _is_cut(file.extra_info):
        raise AudioError(f"{place} ends before the length in its header; it is damaged, copy it again")


def _counts_its_frames(path: Path) -> bool:
    """Whether an MP3's first frame, behind its tag, says how many there are."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        tag = file.read(10)
        if tag.startswith(b"ID3"):
            file.seek(len(tag) + sum(byte << 7 * place for place, byte in enumerate(reversed(tag[6:]))))
        else:
            file.seek(0)
        first = file.read(256)
    return b"Xing" in first or b"Info" in first


def _is_cut(log: str) -> bool:
    """Whether libsndfile noted, like ``data : 64000 (should be 31978)``, that the file is shorter than its header says.

    It then makes the header's length fit. Writers into pipes, which can't go back to fill in the length, put in about
    the largest there is.
    """
    sizes = (tuple(map(int, found)) for found in re.findall(r": (\d+) \(should be (\d+)\)", log))
    return any(held + _SLACK < promised < _LARGEST for promised, held in sizes)


def load_soundfile() -> Any:
    """The library that reads files.

    Raises:
        MissingDependencyError: if it, or libsndfile beneath it, cannot be loaded.
    """
    try:
        import soundfile
    except (ImportError, OSError) as error:
        raise MissingDependencyError(
            f"libsndfile cannot be loaded ({error}); pip install soundfile, on Debian also apt-get install libsndfile1"
        ) from error
    return soundfile


def _open(path: str | os.PathLike[str]) -> Any:
    soundfile, path = load_soundfile(), Path(path)
    try:
        if path.is_dir():
            raise AudioError(f"'{path}' is a directory; give a file")
        size = path.stat().st_size
        if path.is_file():  # not a pipe, which can be opened only once and has no size
            path.open("rb").close()  # libsndfile does not say why it cannot
            if not size:
                raise AudioError(f"'{path}' is empty (0 bytes); record or copy it again")
        file = soundfile.SoundFile(os.fsencode(path))  # a name may be of any bytes
    except (OSError, ValueError) as error:  # the latter of a name with a null character
        why = getattr(error, "strerror", None) or error
        raise AudioError(f"cannot open '{path}': {why}; check its name and permissions") from error
    except soundfile.LibsndfileError as error:
        raise AudioError(f"libsndfile cannot read '{path}' ({_reason(error)}); convert it to WAV") from error
    except TypeError as error:  # headerless formats, which soundfile knows by name
        raise AudioError(f"'{path}' holds raw samples without a header; pipe it into 'lcspeech listen -'") from error
    if not file.frames:
        file.close()
        raise AudioError(f"'{path}' holds no samples, says its header; record or copy it again")
    file.seekable = lambda: False  # else soundfile seeks after each read, which fails where the length is not known
    return file


def _reason(error: Any) -> str:
    """libsndfile's, as part of a sentence."""
    text = str(error.error_string).removeprefix("Error : ").rstrip(".")
    return "format not recognised" if "possibly a pipe" in text else text  # what its MP3 decoder says of other files


def read_pcm(
    stream: BinaryIO, sample_rate: int, channels: int, to_rate: int, block_seconds: float = 0.02
) -> Iterator[Floats]:
    """Mono blocks at `to_rate` Hz from raw interleaved 16-bit little-endian PCM, as it arrives, until the stream ends.

    No block is longer than `block_seconds`. A frame that the end cuts off is dropped.

    Raises:
        AudioError: at once, for an impossible rate or number of channels; later, for what begins like another format.
    """
    resampler = Resampler(sample_rate, to_rate)
    if channels < 1:
        raise AudioError(f"{channels} channels; give one or more")
    return _pcm(stream, channels, max(1, int(block_seconds * sample_rate)), resampler)


_HEADER = 36  # bytes of a WAV file, up to its number of bits


def _refuse_header(begin: bytes, rate: int, channels: int) -> None:
    """Refuse what is no raw PCM; a WAV header of the same rate, channels and 16 bits is as short as it is harmless."""
    if begin.startswith(_PACKED):
        raise AudioError("standard input holds a compressed file, not raw 16-bit PCM; give it to 'lcspeech spot'")
    if begin.startswith(b"RIFF") and len(begin) >= _HEADER:
        own = int.from_bytes(begin[24:28], "little"), int.from_bytes(begin[22:24], "little")
        bits = int.from_bytes(begin[34:36], "little")
        if (*own, bits) != (rate, channels, 16):
            told = f"{own[0]} Hz, channels: {own[1]}, bits: {bits}"
            raise AudioError(f"a WAV file ({told}) instead of raw PCM; give --rate and --channels of it, and 16 bits")


def _pcm(stream: BinaryIO, channels: int, size: int, resampler: Resampler) -> Iterator[Floats]:
    read = getattr(stream, "read1", stream.read)  # read1 does not wait until the block is full
    frame, begin, rest = 2 * channels, b"", b""
    longest = frame * size
    while len(begin) < _HEADER and (chunk := read(longest)):  # a header may come in pieces
        begin += chunk
    _refuse_header(begin, resampler.from_rate, channels)
    known = [begin[start : start + longest] for start in range(0, len(begin), longest)]
    for chunk in itertools.chain(known, iter(lambda: read(longest), b"")):
        rest += chunk
        whole = len(rest) // frame * frame
        yield resampler.process(to_mono(np.frombuffer(rest[:whole], "<i2").reshape(-1, channels)))
        rest = rest[whole:]
    yield resampler.flush()
