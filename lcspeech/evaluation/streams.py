"""Long test streams: keyword clips among background speech and silence, over noise, with known times.

A plan says what comes after what. It is drawn with a seed before anything is heard, and cut into streams of about ten
minutes, each of which can be rendered alone, piece by piece: memory is bounded, and the numbers do not depend on who
renders what. All signal-to-noise ratios get the same words in the same places, over the same noise.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lcspeech.audio import duration, read_blocks
from lcspeech.errors import AudioError, DataError
from lcspeech.evaluation.datasets import read_samples
from lcspeech.evaluation.detection import Label
from lcspeech.evaluation.levels import active_level, peak_frame_level, voiced

Floats = NDArray[np.float32]

STREAM_SECONDS = 600.0
SPEECH_LEVEL = 10 ** (-26 / 20)  # active level of all speech: the -26 dBov that ITU-T P.56 users test at
PEAK_FRAME = 512  # samples, of the public wake-word benchmark
PEAK_LEVEL = 0.2  # of its noise recordings' largest sample, so that speech 10 dB above them is not clipped
TYPICAL_SECONDS = 10.0  # of silence where there is no speech whose length could be taken


class Kind(StrEnum):
    """What is heard, beside the noise."""

    KEYWORD = "keyword"
    SPEECH = "speech"
    SILENCE = "silence"


@dataclass(frozen=True)
class Mixing:
    """How a protocol puts streams together."""

    name: str
    speech_share: float  # of the background's time: the rest of it is silence
    pause: tuple[float, float]  # seconds of silence before each clip and utterance, drawn between these two
    by_peak_frame: bool  # SNR of the loudest frames of speech and of the noise beneath, else of active level and RMS
    after_end: float  # seconds after a keyword clip that still belong to it


LONG = Mixing("long", 0.5, (0.5, 1.5), False, 0.0)
PICOVOICE = Mixing("picovoice", 0.2, (0.0, 0.0), True, 0.5)
"""The mixing of github.com/Picovoice/wake-word-benchmark: one utterance in five is heard, peaks decide the levels, and
a keyword lasts from the beginning of its word to half a second after its end. There the whole file is scaled to a peak
of 1 in the end; here the scale is the same for all streams."""


@dataclass(frozen=True)
class Segment:
    """A recording that is played, or so many seconds of silence; `keyword` is the word in it."""

    kind: Kind
    path: Path | None
    seconds: float
    keyword: str = ""


@dataclass(frozen=True)
class StreamPlan:
    """A stream that is yet to be rendered."""

    segments: tuple[Segment, ...]
    noise: tuple[Path, ...]
    snr_db: float
    mixing: Mixing
    seed: tuple[int, int]  # the user's, and which stream it is

    @property
    def seconds(self) -> float:
        """About how long it is."""
        return sum(segment.seconds for segment in self.segments)


@dataclass(frozen=True, eq=False)
class Piece:
    """A part of a stream: samples ``[n]``, what they hold, and when in the stream they begin, in seconds."""

    kind: Kind
    samples: Floats
    start: float
    label: Label | None = None
    error: str = ""  # why the recording, which is left out, could not be read


def plan_streams(
    clips: Sequence[tuple[str, Path]],
    speech: Sequence[Path],
    noise: Sequence[Path],
    hours: float,
    snrs_db: Sequence[float],
    mixing: Mixing,
    seed: int,
) -> list[StreamPlan]:
    """Streams with every one of `clips` (keyword and file) once per SNR, spread over `hours` of background.

    Utterances come in a drawn order, all of them before one comes again.

    Raises:
        DataError: if there are no clips or no noise.
    """
    if not clips or not noise:
        raise DataError("a stream needs keyword clips and noise recordings")
    random = np.random.default_rng(seed)
    order = random.permutation(len(clips))
    background = _background(speech, mixing, random)
    streams: list[list[Segment]] = [[]]
    heard = lasted = 0.0  # seconds of background, and of the stream that is being filled
    for place, index in enumerate([*order.tolist(), None], start=1):
        due: list[Segment] = []
        while heard < hours * 3600 * place / (len(clips) + 1):
            due += (item := next(background))
            heard += sum(segment.seconds for segment in item)
        if index is not None:
            pause, (keyword, path) = _pause(mixing, random), clips[index]
            heard += sum(segment.seconds for segment in pause)
            due += [*pause, Segment(Kind.KEYWORD, path, _seconds(path) or 0.0, keyword)]
        for segment in due:
            streams[-1].append(segment)
            lasted += segment.seconds
            if lasted >= STREAM_SECONDS:
                streams, lasted = [*streams, []], 0.0
    return [
        StreamPlan(tuple(segments), tuple(noise), snr, mixing, (seed, number))
        for snr in snrs_db
        for number, segments in enumerate(streams)
        if segments
    ]


def _background(speech: Sequence[Path], mixing: Mixing, random: np.random.Generator) -> Iterator[list[Segment]]:
    while True:
        for index in random.permutation(len(speech)).tolist() or [None]:
            path = None if index is None else speech[index]
            seconds = TYPICAL_SECONDS if path is None else _seconds(path) or TYPICAL_SECONDS
            if path is not None and random.uniform() < mixing.speech_share:
                yield [*_pause(mixing, random), Segment(Kind.SPEECH, path, seconds)]
            else:
                yield [Segment(Kind.SILENCE, None, seconds)]


def _seconds(path: Path) -> float | None:
    """A recording's length, if it tells; what cannot be read is left out when its turn comes."""
    try:
        return duration(path)
    except AudioError:
        return None


def _pause(mixing: Mixing, random: np.random.Generator) -> list[Segment]:
    seconds = float(random.uniform(*mixing.pause))
    return [Segment(Kind.SILENCE, None, seconds)] if seconds else []


def render(plan: StreamPlan, sample_rate: int) -> Iterator[Piece]:
    """The stream at `sample_rate` Hz, piece by piece. A keyword clip that is silent holds no word, and has no label.

    A recording that cannot be read is a piece without samples.
    """
    noise = _NoiseTrack(plan, sample_rate)
    position = 0
    for segment in plan.segments:
        start = position / sample_rate
        label = None
        if segment.path is None:
            samples = noise.take(round(segment.seconds * sample_rate))
        else:
            try:
                clip = read_samples(segment.path, sample_rate)
            except AudioError as error:
                yield Piece(segment.kind, np.empty(0, np.float32), start, error=str(error))
                continue
            beneath = noise.take(len(clip))
            samples = beneath + np.float32(_gain(clip, beneath, plan, sample_rate)) * clip
            if segment.keyword and clip.any():
                first, last = voiced(clip, sample_rate)
                label = Label(segment.keyword, start + first, start + last + plan.mixing.after_end)
        position += len(samples)
        yield Piece(segment.kind, samples, start, label)


def excerpt(plan: StreamPlan, sample_rate: int, start: float, end: float) -> Floats:
    """What is heard from `start` to `end`, in seconds of the stream."""
    pieces = [piece.samples for piece in render(_until(plan, end), sample_rate)]
    whole = np.concatenate([np.empty(0, np.float32), *pieces])
    return whole[max(0, round(start * sample_rate)) : round(end * sample_rate)]


def _until(plan: StreamPlan, end: float) -> StreamPlan:
    """The segments that are enough for the stream up to `end`; headers may be wrong by a little."""
    kept, seconds = 0, 0.0
    while kept < len(plan.segments) and seconds < end + 1:
        seconds += plan.segments[kept].seconds
        kept += 1
    return replace(plan, segments=plan.segments[:kept])


def _gain(clip: Floats, noise: Floats, plan: StreamPlan, sample_rate: int) -> float:
    if plan.mixing.by_peak_frame:
        level, wanted = (peak_frame_level(samples, PEAK_FRAME) for samples in (clip, noise))
        wanted *= 10 ** (plan.snr_db / 20)
    else:
        level, wanted = active_level(clip, sample_rate), SPEECH_LEVEL
    return wanted / level if level else 0.0


class _NoiseTrack:
    """All noise recordings one after another in a drawn order, again and again, at the level that the plan asks for."""

    def __init__(self, plan: StreamPlan, sample_rate: int) -> None:
        self._plan, self._rate = plan, sample_rate
        self._blocks = self._play()
        self._ready = np.empty(0, np.float32)

    def take(self, count: int) -> Floats:
        """The next `count` samples."""
        parts = [self._ready]
        missing = count - len(self._ready)
        while missing > 0:
            parts.append(next(self._blocks))
            missing -= len(parts[-1])
        samples = np.concatenate(parts)
        self._ready = samples[count:]
        return samples[:count]

    def _play(self) -> Iterator[Floats]:
        random = np.random.default_rng(self._plan.seed)
        skip = random.uniform()  # of the first recording: streams shall not all begin at a beginning
        while True:
            for index in random.permutation(len(self._plan.noise)).tolist():
                path = self._plan.noise[index]
                length, level, peak = _measure(path, self._rate)
                gain = self._gain(level, peak)
                begin = round(skip * length)
                for block in read_blocks(path, self._rate):
                    yield np.float32(gain) * block[min(begin, len(block)) :]
                    begin = max(0, begin - len(block))
                skip = 0.0

    def _gain(self, level: float, peak: float) -> float:
        if self._plan.mixing.by_peak_frame:
            return PEAK_LEVEL / peak if peak else 0.0
        return SPEECH_LEVEL / 10 ** (self._plan.snr_db / 20) / level if level else 0.0


@cache
def _measure(path: Path, sample_rate: int) -> tuple[int, float, float]:
    """Samples, root mean square and largest magnitude of a recording, which may be too long to hold."""
    count, energy, peak = 0, 0.0, 0.0
    for block in read_blocks(path, sample_rate):
        count += len(block)
        energy += float(np.sum(np.square(block, dtype=np.float64)))
        peak = max(peak, float(np.abs(block).max(initial=0.0)))
    return count, float(np.sqrt(energy / max(1, count))), peak
