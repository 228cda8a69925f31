"""``lcspeech doctor``: will listening work on this machine? If not, what is wrong, and what to do."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from lcspeech.cli._options import seconds
from lcspeech.cli._output import log_shown
from lcspeech.cli._status import meter
from lcspeech.errors import LcspeechError, UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from lcspeech.cli._options import Subparsers
    from lcspeech.health import Finding
    from lcspeech.microphone import Microphone
    from lcspeech.spotter import Spotter

SECONDS = 3.0
BLOCK_SECONDS = 0.04  # a microphone's
ALSA = Path("/dev/snd")  # where Linux keeps its sound devices


def add_parser(subparsers: Subparsers) -> None:
    """Add this command."""
    parser = subparsers.add_parser(
        "doctor",
        help="find out why listening does not work",
        description="Record a moment, and say in plain words what is wrong and what to do. Speak while it records.",
        epilog="The exit code is 0 only if listening will work.",
    )
    parser.add_argument("--device", metavar="DEVICE", help="index or part of a name (default: the system's microphone)")
    parser.add_argument(
        "--seconds", type=seconds, default=SECONDS, metavar="S", help="of recording (default: %(default)g)"
    )
    parser.add_argument("--model", metavar="M", help="a shipped model, a model's folder or .onnx file")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Check one thing after the other, the first that is missing ends it; 1 if listening will not work."""
    works = True
    try:
        for finding in _findings(args):
            works = works and not finding.fatal
            print(f"  {'FAILED' if finding.fatal else 'note  '}  {finding.problem}: {finding.message}", flush=True)
    except UsageError:
        raise
    except LcspeechError as error:
        works = False
        print(f"  FAILED  {error}", flush=True)
    print("listening will work" if works else "listening will NOT work; see what FAILED", flush=True)
    return 0 if works else 1


def _findings(args: argparse.Namespace) -> Iterator[Finding]:
    """What is wrong, in the order in which listening needs it; what is good is printed on the way."""
    from lcspeech import health
    from lcspeech.devices import input_devices
    from lcspeech.microphone import Microphone
    from lcspeech.spotter import Spotter

    spotter = Spotter.load(args.model)
    _good(f"model {spotter.card.name}")
    devices = input_devices()
    _good("PortAudio is installed")
    if not devices:
        yield health.no_device([str(node) for node in _refused(ALSA)])
        return
    with log_shown(lambda _: None), Microphone(args.device) as microphone:
        rate = microphone.sample_rate
        _good(f"'{microphone.device.name}' opens at {rate} Hz; there are {len(devices)} in 'lcspeech devices'")
        print(f"  ...     recording {args.seconds:g} s; speak", flush=True)
        samples, measured = record(microphone, args.seconds), microphone.measured_rate
    if not len(samples):
        yield health.no_audio(rate)
        return
    _good(f"level {meter(float(samples @ samples) / len(samples))}")
    found = health.examine(samples, rate, measured)
    yield from found
    if not found:
        clock = "" if measured is None else f", {measured:.0f} Hz by the clock"
        _good(f"neither silent nor overdriven nor noisy{clock}")
    cpu, seconds = _hear(spotter, samples, rate)
    if slow := health.too_slow(cpu, seconds):
        yield slow
    else:
        _good(f"hearing takes {100 * cpu / seconds:.1f} % of a core")


def _good(message: str) -> None:
    print(f"  good    {message}", flush=True)


def _refused(folder: Path) -> list[Path]:
    """The recording devices of ALSA that this user may not open, of which PortAudio says nothing at all."""
    return [node for node in sorted(folder.glob("pcm*c")) if not os.access(node, os.R_OK | os.W_OK)]


def record(microphone: Microphone, seconds: float) -> NDArray[np.float32]:
    """So many seconds ``[n]`` from a microphone, or nothing if it delivers none."""
    import numpy as np

    blocks: list[NDArray[np.float32]] = []
    for block in microphone:
        if not microphone.present:
            return np.empty(0, np.float32)
        blocks.append(block)
        if sum(map(len, blocks)) >= seconds * microphone.sample_rate:
            break
    return np.concatenate(blocks)


def _hear(spotter: Spotter, samples: NDArray[np.float32], sample_rate: int) -> tuple[float, float]:
    """Seconds of one core that the spotter takes for `samples`, as they come live, and the seconds that they last."""
    stream = spotter.stream(sample_rate)
    size = round(BLOCK_SECONDS * sample_rate)
    began = time.process_time()
    for start in range(0, len(samples), size):
        stream.feed(samples[start : start + size])
    return time.process_time() - began, len(samples) / sample_rate
