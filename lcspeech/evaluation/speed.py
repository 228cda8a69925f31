"""How fast a model runs on this machine: starting, spotting a file, listening; all on one core."""

from __future__ import annotations

import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import soundfile
from numpy.typing import NDArray

from lcspeech.audio import Resampler, read_blocks
from lcspeech.spotter import Spotter

FILE_SECONDS = 600.0  # of the file whose spotting is timed
LIVE_RATES = (16_000, 48_000)  # Hz
LIVE_BLOCK_SECONDS = 0.04  # a microphone's
REPEATS = 5  # of each measurement, of which the median counts


def measure_speed(model: str | None, recording: Path, file_seconds: float = FILE_SECONDS) -> dict[str, Any]:
    """Figures of a shipped model as JSON-able data; `recording` is speech, repeated to `file_seconds`."""
    spotter = Spotter.load(model)
    rate = spotter.card.features.sample_rate
    speech = np.concatenate(list(read_blocks(recording, rate)))
    with tempfile.TemporaryDirectory() as folder:
        clip, long = Path(folder) / "clip.wav", Path(folder) / "long.wav"
        soundfile.write(clip, speech[:rate], rate)
        soundfile.write(long, np.resize(speech, int(file_seconds * rate)), rate)
        interpreter = _process_seconds("pass")
        start = f"from lcspeech.cli import main; raise SystemExit(main(['spot', {str(clip)!r}]))"
        return {
            "date": datetime.now(UTC).date().isoformat(),
            "machine": f"{_processor()}, one core, onnxruntime {onnxruntime.__version__}",
            "import_ms": 1000 * (_process_seconds("import lcspeech") - interpreter),
            "spot_one_second_clip_s": _process_seconds(start) - interpreter,
            "spot_file_times_real_time": file_seconds / _cpu_seconds(lambda: spotter.spot(long)),
            "live_percent_of_a_core": {
                f"{live} Hz": 100 * _live(spotter, speech, live) / (len(speech) / rate) for live in LIVE_RATES
            },
        }


def _live(spotter: Spotter, speech: NDArray[np.float32], sample_rate: int) -> float:
    """CPU seconds for `speech`, fed in a microphone's blocks at a microphone's rate."""
    resampler = Resampler(spotter.card.features.sample_rate, sample_rate)
    samples = np.concatenate([resampler.process(speech), resampler.flush()])
    size = round(LIVE_BLOCK_SECONDS * sample_rate)

    def listen() -> None:
        stream = spotter.stream(sample_rate)
        for start in range(0, len(samples), size):
            stream.feed(samples[start : start + size])

    return _cpu_seconds(listen)


def _cpu_seconds(work: Callable[[], object]) -> float:
    def once() -> float:
        before = time.process_time()
        work()
        return time.process_time() - before

    return statistics.median(once() for _ in range(REPEATS))


def _process_seconds(program: str) -> float:
    """Wall-clock seconds of a Python process, from its start to its end."""

    def once() -> float:
        before = time.perf_counter()
        subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
        return time.perf_counter() - before

    return statistics.median(once() for _ in range(REPEATS))


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
