"""Measure typed and recorded words: how many clips are found in noise, at which false alarms in speech.

    python recipes/measure_enrollment.py --clips athena/ --speech librispeech/train-clean-5/1737 --noise noise/ \\
        --output pretrained/open/athena.json

Each trial enrolls random clips of the folder, whose name is the word, and looks for the others in a stream with noise.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lcspeech import AudioError, Keyword, LcspeechError, Spotter, enroll, pretrained
from lcspeech.audio import find_audio, read_blocks
from lcspeech.evaluation.levels import active_level, rms
from lcspeech.evaluation.metrics import Proportion, Rate

Floats = NDArray[np.float32]
PAUSE_SECONDS, LATE_SECONDS = 1.0, 0.5  # before each clip; by which an event may end after its clip
LEVEL = 0.05  # of speech, root mean square


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=Path, required=True, help="clips of one word")
    parser.add_argument("--speech", type=Path, nargs="+", required=True, help="speech in which the word is not said")
    parser.add_argument("--noise", type=Path, required=True, help="noise to mix with the clips and with the speech")
    parser.add_argument("--snr-db", type=float, default=10.0, help="default: %(default)s")
    parser.add_argument("--recordings", type=int, default=5, help="that are enrolled (default: %(default)s)")
    parser.add_argument("--trials", type=int, default=5, help="default: %(default)s")
    parser.add_argument("--most", type=int, default=200, help="clips that are looked for (default: %(default)s)")
    parser.add_argument("--model", default=pretrained.OPEN, help="the model (default: %(default)s)")
    parser.add_argument("--output", type=Path, help="JSON file to write the figures to")
    return parser.parse_args(argv)


def read(path: Path, rate: int) -> Floats:
    return np.concatenate([np.empty(0, np.float32), *read_blocks(path, rate)])


def levelled(samples: Floats, rate: int) -> Floats:
    return samples * np.float32(LEVEL / max(1e-6, active_level(samples, rate)))


def noisy(parts: Sequence[Floats], noise: Floats, snr_db: float) -> Floats:
    samples = np.concatenate(parts)
    return samples + np.float32(LEVEL / 10 ** (snr_db / 20) / rms(noise)) * np.resize(noise, len(samples))


def trials(args: argparse.Namespace, spotter: Spotter, word: str, files: list[Path]) -> Iterator[tuple[str, Keyword]]:
    yield "typed", spotter.keyword(word)
    random, made = np.random.default_rng(1), 0
    for _ in range(20 * args.trials):
        try:
            chosen = [files[i] for i in random.permutation(len(files))[: args.recordings]]
            keyword = enroll(word, chosen, spotter=spotter)
        except AudioError:  # clips of any quality are among them; a user would record again
            continue
        made += 1
        yield f"recorded {made}", keyword
        if made == args.trials:
            return


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    try:
        spotter = Spotter.load(args.model)
        rate = spotter.card.features.sample_rate
        word = args.clips.resolve().name
        files = [Path(file) for file in np.random.default_rng(0).permutation(np.array(find_audio([args.clips]), str))]
        searched, enrolled = files[: args.most], files[args.most :] or files
        noise = np.concatenate([levelled(read(file, rate), rate) for file in find_audio([args.noise])])
        pause = np.zeros(round(PAUSE_SECONDS * rate), np.float32)
        parts = [part for file in searched for part in (pause, levelled(read(file, rate), rate))] + [pause]
        ends = np.cumsum([len(part) for part in parts])[1:-1:2] / rate
        stream = noisy(parts, noise, args.snr_db)
        speech = [part for file in find_audio(args.speech) for part in (pause, levelled(read(file, rate), rate))]
        rows = []
        for kind, keyword in trials(args, spotter, word, enrolled):
            listener = spotter.replace(keywords=[keyword])
            events = listener.spot(stream, sample_rate=rate)
            starts = ends - np.diff(ends, prepend=0.0) + PAUSE_SECONDS
            hits = [(starts <= event.end) & (event.end <= ends + LATE_SECONDS) for event in events]
            found = Proportion(int(np.any(hits, axis=0).sum()) if events else 0, len(ends))
            quiet, loud = (
                Rate(len(listener.spot(s, sample_rate=rate)), len(s) / rate / 3600)
                for s in (np.concatenate(speech), noisy(speech, noise, args.snr_db))
            )
            print(
                f"{kind}: threshold {keyword.threshold:g}, found {100 * found.value:.1f} % of {found.total}, "
                f"false alarms per hour: {quiet.value:.2f} in speech, {loud.value:.2f} in speech and noise",
                flush=True,
            )
            alarms = {"speech": quiet.value, "speech and noise": loud.value}
            row = {"kind": kind, "threshold": keyword.threshold, "found": found.value, "clips": found.total}
            rows.append({**row, "false_alarms_per_hour": alarms})
        if args.output:
            command = shlex.join(["python", "recipes/measure_enrollment.py", *(sys.argv[1:] if argv is None else argv)])
            figures = {"date": datetime.now(UTC).date().isoformat(), "command": command, "hours": quiet.hours}
            pretrained.write(args.output, (json.dumps({**figures, "trials": rows}, indent=2) + "\n").encode())
            pretrained.write_checksums(args.output.parent)
    except LcspeechError as error:
        print(f"measure_enrollment: error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
