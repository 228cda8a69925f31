"""Measure what a dynamic model's gate saves, beside the same network without one: CPU, words found, false alarms.

    python recipes/measure_gate.py --data-dir speech_commands --speech librispeech/train-clean-5 --noise noise \\
        --speakers 1737 2136 3526 6848 8629 --output pretrained/commands-dynamic/gate.json

Silence, a home (noise, and a word in a tenth of the time), talk, commands one after another; and words that a gate may
fail to hear: whispered, in noise at 0 dB, and 30 dB quieter than usual.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import shlex
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lcspeech import LcspeechError, Spotter, UsageError, pretrained
from lcspeech.audio import find_audio
from lcspeech.evaluation import gating
from lcspeech.evaluation.datasets import find_keyword_clips, find_speech, read_samples
from lcspeech.evaluation.levels import LEVEL, levelled
from lcspeech.evaluation.speed import processor

Floats = NDArray[np.float32]
TALK_SECONDS = 600.0


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, required=True, help="Speech Commands: its validation clips are used")
    parser.add_argument("--speech", type=Path, required=True, help="speech; what holds a keyword is left out")
    parser.add_argument("--speakers", nargs="+", default=[], help="LibriSpeech speakers (default: all)")
    parser.add_argument("--noise", type=Path, required=True, help="noise of a home")
    parser.add_argument("--words", type=int, default=300, help="clips that are looked for (default: %(default)s)")
    parser.add_argument("--model", default="commands-dynamic", help="(default: %(default)s)")
    parser.add_argument("--output", type=Path, help="JSON file to write the figures to")
    return parser.parse_args(argv)


def scenes(args: argparse.Namespace, spotter: Spotter) -> Iterator[tuple[str, gating.Scene]]:
    rate, random = spotter.card.features.sample_rate, np.random.default_rng(0)

    def read(path: Path) -> Floats:
        return levelled(read_samples(path, rate), rate)

    names = [keyword.name for keyword in spotter.keywords]
    found = find_keyword_clips(args.data_dir, names, "validation")
    clips = [(found[i][0], read(found[i][1])) for i in random.permutation(len(found))[: args.words]]
    noises = [read(file) for file in find_audio([args.noise])]
    noise = np.concatenate([noises[i] for i in random.permutation(len(noises))])
    talk: list[tuple[str, Floats]] = []
    for file in find_speech(args.speech, names, args.speakers)[0]:
        talk.append(("", read(file)))
        if sum(len(samples) for _, samples in talk) > TALK_SECONDS * rate:
            break
    yield "silence", gating.Scene((1e-4 * random.standard_normal(60 * rate)).astype(np.float32), ())
    yield "home", gating.with_noise(gating.scene(clips[::5], rate, pause=9.0), noise, LEVEL / 10)
    yield "talk", gating.scene(talk, rate)
    commands = gating.scene(clips, rate)
    yield "commands", commands
    yield "whispered", gating.scene([(word, gating.whispered(clip, rate, random)) for word, clip in clips], rate)
    yield "noise at 0 dB", gating.with_noise(commands, noise, LEVEL)
    yield "30 dB quieter", dataclasses.replace(commands, samples=commands.samples / np.float32(10**1.5))


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    try:
        if args.output and not args.output.absolute().parent.is_dir():  # now, not when all is measured
            raise UsageError(f"no folder '{args.output.parent}' to write '{args.output.name}' into; make it")
        gated = Spotter.load(args.model)
        if gated.gate is None:
            raise UsageError(f"'{args.model}' has no gate; give a dynamic model")
        ungated = gating.without_gate(gated)
        rows = {}
        for name, scene in scenes(args, gated):
            row = rows[name] = gating.compare(gated, ungated, scene)
            print(f"{name}: open {row['open']:.0%}, saves {row['cpu_saved']:.0%}; {row['words']} words, ", end="")
            print(*(f"{kind} {row[kind]}" for kind in ("gated", "ungated")), sep=", ", flush=True)
        if args.output:
            command = shlex.join(["python", "recipes/measure_gate.py", *(sys.argv[1:] if argv is None else argv)])
            figures = {"date": datetime.now(UTC).date().isoformat(), "command": command, "machine": processor()}
            content = json.dumps({**figures, "scenes": rows}, indent=2) + "\n"
            pretrained.write(args.output, content.encode())
            if (args.output.parent / pretrained.CARD).exists():  # a model's folder, which lists its files
                pretrained.write_checksums(args.output.parent)
    except (LcspeechError, OSError) as error:
        print(f"measure_gate: error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
