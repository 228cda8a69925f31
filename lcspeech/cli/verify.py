"""``lcspeech verify``: is the model's file whole, and does streaming equal offline on this machine?"""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING

from lcspeech.cli._output import complain

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from lcspeech.cli._options import Subparsers
    from lcspeech.spotter import Spotter
    from lcspeech.trigger import Event

TOLERANCE = 1e-4  # of log-probs
FAINT = 0.01  # score of events that are compared, too
BLOCKS = (1, 37, 160, 1280, 4001, 16_000)  # samples
LONGEST_OF_SINGLE_SAMPLES = 0.5  # seconds; they take long
SIGNAL_SECONDS = 3.0


def add_parser(subparsers: Subparsers) -> None:
    """Add this command."""
    parser = subparsers.add_parser(
        "verify",
        help="check a model on this machine",
        description="Check a model's file, and that blocks of any size give what the whole recording gives.",
    )
    parser.add_argument("model", nargs="?", metavar="MODEL", help="shipped model, folder or .onnx (default: the best)")
    parser.add_argument("file", nargs="?", metavar="FILE", help="audio to check with (default: a generated signal)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the largest difference of log-probs for each block size; 1 if it is too large, or events are others."""
    from lcspeech.spotter import Spotter

    model, file = _model_or_file(args.model) if args.file is None else (args.model, args.file)
    spotter = Spotter.load(model)
    print(f"{spotter.card.name}: loaded, {_checksum(model)}")
    samples = _samples(spotter.card.features.sample_rate, file)
    differences = [_report(spotter, samples, block) for block in BLOCKS]
    largest = math.nan if any(map(math.isnan, differences)) else max(differences)
    within = largest <= TOLERANCE  # a NaN is not
    print(f"largest difference {largest:.1e}, {TOLERANCE:.0e} allowed: {'good' if within else 'NOT GOOD'}")
    if not within:
        complain("error", "streaming differs from offline on this machine; install another version of onnxruntime")
    return 0 if within else 1


def _report(spotter: Spotter, samples: NDArray[np.float32], block: int) -> float:
    rate = spotter.card.features.sample_rate
    if block == 1:
        samples = samples[: round(LONGEST_OF_SINGLE_SAMPLES * rate)]
    difference, same = largest_difference(spotter, samples, block), same_events(spotter, samples, block)
    told = "" if same else ", and other events"
    print(f"  blocks of {block:>5} samples, {len(samples) / rate:6.1f} s: {difference:.1e}{told}", flush=True)
    return difference if same else math.inf


def largest_difference(spotter: Spotter, samples: NDArray[np.float32], block: int) -> float:
    """Between log-probs of `samples` at the model's rate in one piece and in blocks; infinite if lengths differ."""
    rate = spotter.card.features.sample_rate
    offline = spotter.log_probs(samples, sample_rate=rate)
    streamed = spotter.log_probs(samples, sample_rate=rate, block=block)
    return float(abs(offline - streamed).max()) if offline.shape == streamed.shape else float("inf")


def same_events(spotter: Spotter, samples: NDArray[np.float32], block: int) -> bool:
    """Whether faint ones, too, in `samples` at the model's rate, are the same in one piece and in blocks."""
    rate, faint = spotter.card.features.sample_rate, spotter.replace(threshold=FAINT)
    with faint.stream() as stream:
        streamed = [e for i in range(0, len(samples), block) for e in stream.feed(samples[i : i + block])]
        streamed += stream.flush()
    whole = faint.spot(samples, sample_rate=rate)
    return len(whole) == len(streamed) and all(
        (one.keyword == other.keyword)
        and all(math.isclose(*pair, abs_tol=1e-3) for pair in zip(_numbers(one), _numbers(other), strict=True))
        for one, other in zip(whole, streamed, strict=True)
    )


def _numbers(event: Event) -> tuple[float, float, float]:
    return event.start, event.end, event.score


def _model_or_file(only: str | None) -> tuple[str | None, str | None]:
    """What the only argument is: a file that is no model is audio."""
    from lcspeech.pretrained import models

    is_audio = only is not None and only not in models() and Path(only).is_file() and Path(only).suffix != ".onnx"
    return (None, only) if is_audio else (only, None)


def _checksum(model: str | None) -> str:
    """How the file, which was loaded, was checked."""
    from lcspeech.pretrained import CHECKSUMS, checksums, locate

    path = locate(model)
    sums = path.with_name(CHECKSUMS)
    listed = sums.is_file() and path.name in checksums(sums.read_text(encoding="utf-8").splitlines())
    return f"its SHA-256 is the one in {CHECKSUMS}" if listed else f"no {CHECKSUMS} that lists it"


def _samples(rate: int, file: str | None) -> NDArray[np.float32]:
    """A file's samples, or rising tones in noise, the same every time."""
    import numpy as np

    if file is not None:
        from lcspeech.audio import read_blocks

        return np.concatenate(list(read_blocks(file, rate)))
    return generated(rate, SIGNAL_SECONDS)


def generated(rate: int, seconds: float) -> NDArray[np.float32]:
    """Rising tones in noise at `rate` Hz, the same every time."""
    import numpy as np

    time = np.arange(round(seconds * rate)) / rate
    chirps = np.sin(2 * np.pi * (200 + 1500 * (time % 1)) * (time % 1))
    loudness = 0.3 * (time % 1 < 0.7)
    noise = 0.02 * np.random.default_rng(0).standard_normal(len(time))
    return (loudness * chirps + noise).astype(np.float32)
