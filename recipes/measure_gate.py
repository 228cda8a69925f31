"""Measure what a dynamic model's gate saves, beside the same network without one: CPU, words found, false alarms.

    python recipes/measure_gate.py --data-dir speech_commands --speech librispeech/train-clean-5 --noise noise \\
        --speakers 1737 2136 3526 6848 8629 --output pretrained/commands-dynamic/gate.json

Silence, a home (noise, and a word in a tenth of the time), talk, commands one after another; and words that a gate may
fail to hear: whispered, in noise at 0 dB, and 30 dB quieter than usual.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from lcspeech import Spotter, UsageError
from lcspeech.audio import find_audio
from lcspeech.evaluation import figures, gating
from lcspeech.evaluation.datasets import find_keyword_clips, find_speech
from lcspeech.evaluation.speed import processor


def measure(args: argparse.Namespace, made: figures.Made) -> None:
    gated = Spotter.load(args.model)
    if gated.gate is None:
        raise UsageError(f"'{args.model}' has no gate; give a dynamic model")
    ungated, random = gating.without_gate(gated), np.random.default_rng(0)
    names = [keyword.name for keyword in gated.keywords]
    found = find_keyword_clips(args.data_dir, names, "validation")
    clips = [found[i] for i in random.permutation(len(found))[: args.words]]
    talk, _ = find_speech(args.speech, names, args.speakers)
    rows = {}
    scenes = gating.scenes(clips, talk, find_audio([args.noise]), gated.card.features.sample_rate, random)
    for name, scene in scenes:
        row = rows[name] = gating.compare(gated, ungated, scene)
        print(f"{name}: open {row['open']:.0%}, saves {row['cpu_saved']:.0%}; {row['words']} words, ", end="")
        print(*(f"{kind} {row[kind]}" for kind in ("gated", "ungated")), sep=", ", flush=True)
    if args.output:
        figures.write(args.output, {**made, "machine": processor(), "scenes": rows})


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, required=True, help="Speech Commands: its validation clips are used")
    parser.add_argument("--speech", type=Path, required=True, help="speech; what holds a keyword is left out")
    parser.add_argument("--speakers", nargs="+", default=[], help="LibriSpeech speakers (default: all)")
    parser.add_argument("--noise", type=Path, required=True, help="noise of a home")
    parser.add_argument("--words", type=int, default=300, help="clips that are looked for (default: %(default)s)")
    parser.add_argument("--model", default="commands-dynamic", help="(default: %(default)s)")
    parser.add_argument("--output", type=Path, help="JSON file to write the figures to")
    return figures.main("measure_gate", measure, parser, argv)


if __name__ == "__main__":
    sys.exit(main())
