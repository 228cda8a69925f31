"""How fast models run on this machine, beside their peers: starting, spotting a file, listening; all on one core."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from lcspeech import pretrained
from lcspeech.audio import resampled, to_mono
from lcspeech.errors import UsageError
from lcspeech.evaluation.figures import today
from lcspeech.evaluation.peers import Feed, Peer
from lcspeech.features import LogMelStream
from lcspeech.heads import Head
from lcspeech.spotter import Spotter
from lcspeech.units import BLANK, Keyword

FILE_SECONDS = 600.0  # of the file whose spotting is timed
BLOCK_SECONDS = (0.04, 0.08, 0.16)  # of live audio
RATES = (16_000, 48_000)  # Hz, of a microphone, in the shortest blocks
PEER_BLOCK_SECONDS = 0.08
KEYWORDS, UNITS = 20, 6  # open words that are set against one, and the units of each
SPEECH_RATE = 16_000  # Hz, of the audio that all are measured with
REPEATS = 5  # of each measurement, of which the median counts

_STATUS = Path("/proc/self/status")

Floats = NDArray[np.float32]
Work = Callable[[], object]


@dataclass(frozen=True)
class LiveCost:
    """Percent of one core that live audio at the model's rate takes: each stage run on its own, and all together."""

    block_seconds: float
    front_end: float
    encoder: float
    search: float
    total: float


@dataclass(frozen=True)
class ModelSpeed:
    """What a model costs on this machine. `parameters` and `macs_per_second` are the card's (0: not counted)."""

    model: str
    import_ms: float
    spot_one_second_clip_s: float  # cold: from the start of the command to its end, the interpreter's included
    peak_memory_mb: float | None  # of that; None where the system does not tell
    spot_file_times_real_time: float  # of `FILE_SECONDS`
    live_percent_of_a_core: dict[str, float]  # by the microphone's rate
    live: tuple[LiveCost, ...]
    twenty_keywords: float  # live, times one keyword: of open words, each of six units
    twenty_learned: float | None  # twenty with heads of their own, times one without; None: no head fits the model
    step_seconds: float  # of audio that go through the network at a time
    step_median_ms: float
    step_p99_ms: float
    file_bytes: int
    parameters: int
    macs_per_second: int


@dataclass(frozen=True)
class PeerSpeed:
    """Percent of one core that a package takes for its keywords, or why it could not be measured."""

    package: str
    version: str
    keyword: str
    percent_of_a_core: float | None
    error: str = ""


@dataclass(frozen=True)
class Bench:
    """One run on one machine. `peers` are others in turns with all `models`, which come first; none without others."""

    date: str
    machine: str
    models: tuple[ModelSpeed, ...]
    peers: tuple[PeerSpeed, ...]


def bench(
    models: Sequence[str | None], speech: Floats, peers: Sequence[Peer], file_seconds: float = FILE_SECONDS
) -> Bench:
    """Measure `models` (as `Spotter.load` takes them) and `peers` on `speech`, samples ``[n]`` at `SPEECH_RATE`.

    Raises:
        UnknownModelError: if there is no such model.
        UsageError: if there is less than a second of speech.
    """
    if len(speech) < SPEECH_RATE:
        raise UsageError(
            f"{len(speech) / SPEECH_RATE:.2f} s of speech are too short to measure on; give a second or more"
        )
    for model in models:
        pretrained.load(model)  # what does not exist is told before minutes of measuring
    versions = f"onnxruntime {version('onnxruntime')}, Python {platform.python_version()}"
    with _one_core():
        return Bench(
            date=today(),
            machine=f"{processor()}, one core, {versions}",
            models=tuple(measure_model(model, speech, file_seconds) for model in models),
            peers=side_by_side([Spotter.load(model) for model in models], peers, speech) if peers else (),
        )


def measure_model(model: str | None, speech: Floats, file_seconds: float = FILE_SECONDS) -> ModelSpeed:
    """Figures of one model; see `bench`."""
    content = pretrained.load(model)
    spotter = Spotter.load(model)
    card, rate = spotter.card, spotter.card.features.sample_rate
    speech = resampled(speech, SPEECH_RATE, rate)
    with tempfile.TemporaryDirectory() as folder:
        clip, long = Path(folder) / "clip.wav", Path(folder) / "long.wav"
        soundfile.write(clip, speech[:rate], rate)
        soundfile.write(long, np.resize(speech, int(file_seconds * rate)), rate)
        arguments = ["spot", str(clip), *([] if model is None else ["--model", str(model)])]
        start, memory = _process(f"from lcspeech.cli import main\nassert main({arguments!r}) == 0")
        file = _cpu_seconds(lambda: spotter.spot(long))
    interpreter, _ = _process("pass")
    imported, _ = _process("import lcspeech")
    share = 100 * rate / len(speech)  # CPU seconds -> percent of the core
    steps = _step_seconds(spotter, speech)
    words = open_words(spotter)
    several = [words[:1], words, *([learned_words(spotter)] if card.hidden else [])]
    one, twenty, *learned = live_percents([spotter.replace(keywords=keywords) for keywords in several], speech, rate)
    return ModelSpeed(
        model=card.name,
        import_ms=1000 * (imported - interpreter),
        spot_one_second_clip_s=start,
        peak_memory_mb=memory,
        spot_file_times_real_time=file_seconds / file,
        live_percent_of_a_core={
            f"{live} Hz": share
            * _cpu_seconds(_listening(spotter, resampled(speech, rate, live), live, BLOCK_SECONDS[0]))
            for live in RATES
        },
        live=tuple(_live_cost(spotter, speech, seconds) for seconds in BLOCK_SECONDS),
        twenty_keywords=twenty / one,
        twenty_learned=learned[0] / one if learned else None,
        step_seconds=spotter.step / card.features.frame_rate,
        step_median_ms=1000 * statistics.median(steps),
        step_p99_ms=1000 * float(np.percentile(steps, 99)),
        file_bytes=len(content),
        parameters=card.parameters,
        macs_per_second=card.macs_per_second,
    )


def side_by_side(spotters: Sequence[Spotter], peers: Sequence[Peer], speech: Floats) -> tuple[PeerSpeed, ...]:
    """What each costs live on the same audio, in turns: the machine may be slower for some, but then for all."""
    samples = np.round(speech * 32_767).astype(np.int16)
    blocks = _blocks(samples, round(PEER_BLOCK_SECONDS * SPEECH_RATE))
    figures: list[PeerSpeed] = []
    works: list[Work | None] = []
    for spotter in spotters:
        rate = spotter.card.features.sample_rate
        works.append(_listening(spotter, resampled(speech, SPEECH_RATE, rate), rate, PEER_BLOCK_SECONDS))
        keywords = f"all {len(spotter.keywords)} of {spotter.card.name}"
        figures.append(PeerSpeed("lcspeech", version("lcspeech"), keywords, None))
    for peer in peers:
        work, error = None, ""
        try:
            work = _feeding(peer.open(), blocks)
            work()
        except Exception as failure:  # another's code may raise anything, and must not end the run
            work, error = None, f"{type(failure).__name__}: {failure}".splitlines()[0]
        works.append(work)
        figures.append(PeerSpeed(peer.package, peer.version or "", peer.keyword, None, error))
    seconds = iter(_in_turns([work for work in works if work is not None]))
    share = 100 * SPEECH_RATE / len(speech)
    return tuple(
        figure if work is None else replace(figure, percent_of_a_core=share * next(seconds))
        for figure, work in zip(figures, works, strict=True)
    )


def _feeding(feed: Feed, blocks: Sequence[NDArray[np.int16]]) -> Work:
    def hear() -> None:
        for block in blocks:
            feed(block)

    return hear


def _in_turns(works: Sequence[Work]) -> list[float]:
    """The median CPU seconds of each."""
    times = [[_once(work) for work in works] for _ in range(REPEATS)]
    return [statistics.median(column) for column in zip(*times, strict=True)]


def open_words(spotter: Spotter) -> list[Keyword]:
    """Made-up words, which cost what typed ones do."""
    drawn = np.random.default_rng(0).integers(BLANK + 1, len(spotter.units), (KEYWORDS, UNITS))
    return [Keyword(f"word {i}", (tuple(map(int, row)),), units=spotter.units) for i, row in enumerate(drawn)]


def learned_words(spotter: Spotter) -> list[Keyword]:
    """Made-up words with heads, which cost what learned ones do."""
    card, sha256 = spotter.card, spotter.encoder.sha256
    return [
        replace(word, head=Head.of(card.name, sha256, np.zeros((card.hidden + 1, len(word.head_units)))))
        for word in open_words(spotter)
    ]


def live_percents(spotters: Sequence[Spotter], samples: Floats, sample_rate: int) -> list[float]:
    """Percent of a core that each takes to hear `samples` live; they take turns, so that all meet the same machine."""
    works = [_listening(spotter, samples, sample_rate, PEER_BLOCK_SECONDS) for spotter in spotters]
    return [100 * seconds * sample_rate / len(samples) for seconds in _in_turns(works)]


def _live_cost(spotter: Spotter, speech: Floats, block_seconds: float) -> LiveCost:
    """Each stage hears what the one before it gave, recorded beforehand."""
    rate = spotter.card.features.sample_rate
    blocks = _blocks(speech, round(block_seconds * rate))
    log_mels: list[Floats] = []
    log_probs: list[Floats] = []

    def front_end() -> None:
        stream = LogMelStream(spotter.card.features, spotter.lead)
        steps = (stream.process(to_mono(block), spotter.short_step, spotter.step) for block in blocks)
        log_mels[:] = [log_mel for log_mel in steps if len(log_mel)]

    def encoder() -> None:
        stream = spotter.encoding()
        log_probs[:] = [stream.process(log_mel) for log_mel in log_mels]

    def search() -> None:
        searched, triggered = spotter.search.initial_state(), spotter.trigger.initial_state()
        for step in log_probs:
            hits, searched = spotter.search.run(step, searched)
            _, triggered = spotter.trigger.run(hits.scores, hits.starts, hits.ends, hits.first_frame, triggered)

    stages = (front_end, encoder, search, _listening(spotter, speech, rate, block_seconds))
    return LiveCost(block_seconds, *(100 * _cpu_seconds(stage) * rate / len(speech) for stage in stages))


def _listening(spotter: Spotter, samples: Floats, sample_rate: int, block_seconds: float) -> Work:
    blocks = _blocks(samples, round(block_seconds * sample_rate))

    def listen() -> None:
        stream = spotter.stream(sample_rate)
        for block in blocks:
            stream.feed(block)

    return listen


def _step_seconds(spotter: Spotter, speech: Floats) -> list[float]:
    """Wall-clock seconds of each step, from audio to events; the first two, which set up sessions, left out."""
    features, stream = spotter.card.features, spotter.stream()
    times: list[float] = []
    for block in _blocks(speech, spotter.step * features.hop):
        before = time.perf_counter()
        stream.feed(block)
        times.append(time.perf_counter() - before)
    return times[2:]


def _blocks(samples: NDArray[Any], size: int) -> list[NDArray[Any]]:
    """Whole blocks; what is left is dropped."""
    return [samples[start : start + size] for start in range(0, len(samples) - size + 1, size)]


def _cpu_seconds(work: Work) -> float:
    return statistics.median(_once(work) for _ in range(REPEATS))


def _once(work: Work) -> float:
    before = time.process_time()
    work()
    return time.process_time() - before


def _process(program: str) -> tuple[float, float | None]:
    """Wall-clock seconds of a Python process from its start to its end, and the most memory that it held, in MB.

    getrusage would count what this process held when it made the other; only Linux tells apart.
    """
    if _STATUS.exists():
        program += f"\nimport sys; print(open({str(_STATUS)!r}).read(), file=sys.stderr)"
    seconds, memory = [], None
    for _ in range(REPEATS):
        before = time.perf_counter()
        result = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
        seconds.append(time.perf_counter() - before)
        if found := re.search(r"^VmHWM:\s*(\d+) kB", result.stderr, re.MULTILINE):
            memory = int(found[1]) * 1024 / 1e6
    return statistics.median(seconds), memory


@contextlib.contextmanager
def _one_core() -> Iterator[None]:
    """Hold this process and those it starts to one core, where the system can: some peers run threads on all."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(before)})  # the first one has the most to do with devices
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
