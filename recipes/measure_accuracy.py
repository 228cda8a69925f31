"""Measure models by the published protocols and in long streams, and write accuracy.json into the folder of each.

    python recipes/measure_accuracy.py --data-dir speech_commands --speech librispeech/train-clean-5 \\
        --speakers 1737 2136 3526 6848 8629 --noise noise --logmel-dir speech_commands_logmel

All of the validation split: twelve classes and 35 words (`lcspeech eval clips`), log-mel pictures of words that hardly
have recordings, and the ten commands in streams at 10 dB (`lcspeech eval stream`), and one after another, as loud as
they are and fainter.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from lcspeech import Spotter, pretrained
from lcspeech.audio import find_audio
from lcspeech.card import FeatureSettings
from lcspeech.cli._options import Number, WholeNumber
from lcspeech.evaluation import figures
from lcspeech.evaluation.clips import (
    ALL_WORDS,
    COMMANDS,
    V2_12,
    V2_35,
    evaluate_clips,
    picture_accuracy,
    protocol_clips,
)
from lcspeech.evaluation.datasets import find_keyword_clips, find_speech, hours_of, read_samples
from lcspeech.evaluation.listening import ListeningTask, hear
from lcspeech.evaluation.parallel import available_cores, run_tasks
from lcspeech.evaluation.scenes import heard, scene
from lcspeech.evaluation.streams import LONG, plan_streams
from lcspeech.evaluation.summary import summarise

ACCURACY = "accuracy.json"
RARE = ("on", "off", "stop")  # of whose recordings there are ten each
SNR_DB, TOLERANCE_SECONDS = 10.0, 0.5
FAINTER_DB = (0.0, 10.0, 20.0, 30.0)


def measure(args: argparse.Namespace, made: figures.Made) -> None:
    folders = {name: pretrained.locate(name).parent for name in args.model or pretrained.models()}
    clips = {p: protocol_clips(args.data_dir, "validation", p, ()) for p in (V2_12, V2_35)}
    pictures = None
    if args.logmel_dir:
        from lcspeech.train.data import read_validation_pictures  # torch

        pictures = read_validation_pictures(args.data_dir, args.logmel_dir, FeatureSettings(), ALL_WORDS, RARE)
    said = find_keyword_clips(args.data_dir, COMMANDS, "validation")
    speech, _ = find_speech(args.speech, COMMANDS, args.speakers)
    noise = find_audio([args.noise])
    plans = plan_streams(said, speech, noise, args.hours, [SNR_DB], LONG, 0)
    material = {"speech_hours": hours_of(speech), "noise_hours": hours_of(noise)}  # which are heard again and again
    tasks = [ListeningTask(plan, TOLERANCE_SECONDS) for plan in plans]
    for name, folder in folders.items():
        spotter = Spotter.load(name)
        measured: dict[str, Any] = dict(made)
        for protocol, chosen in clips.items():
            labelled = evaluate_clips(spotter, chosen, protocol, args.workers)
            measured[protocol] = labelled.to_json(spotter.card.name)
        if pictures is not None:
            drawn = [ALL_WORDS[word] for word in pictures.words]
            measured["pictures"] = {**picture_accuracy(spotter, pictures.log_mel, drawn), "words": RARE}
        results = run_tasks(hear, tasks, spotter.replace(keywords=COMMANDS), args.workers)
        measured["stream"] = {**material, **summarise(results, COMMANDS).to_json()}
        for curve in measured["stream"]["keywords"].values():
            del curve["curve"]  # that of all together is enough
        rate = spotter.card.features.sample_rate
        words = scene(((word, read_samples(path, rate)) for word, path in said), rate)
        fainter = {f"{by_db:g}": heard(spotter, words.fainter(by_db)) for by_db in FAINTER_DB}
        measured["fainter"] = {"words": len(words.words), **fainter}
        figures.write(folder / ACCURACY, measured)
        low = {rate: f"{100 * at['miss_rate']:.1f} %" for rate, at in measured["stream"]["all"]["at"].items()}
        shares = {k: f"{100 * measured[k]['accuracy']:.2f} %" for k in (V2_12, V2_35, "pictures") if k in measured}
        print(f"{name}: {shares}; missed at so many false alarms an hour: {low}", flush=True)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", nargs="+", help="shipped models, or folders of models (default: all shipped)")
    parser.add_argument("--data-dir", type=Path, required=True, help="Speech Commands")
    parser.add_argument("--speech", type=Path, required=True, help="LibriSpeech, for the streams")
    parser.add_argument(
        "--speakers", nargs="+", default=[], help="only these of its speakers: those kept out of training"
    )
    parser.add_argument("--noise", type=Path, required=True, help="noise, for the streams")
    hours, workers = Number(0, 10_000, "hours", above=True), WholeNumber(1, 1024, "workers")
    parser.add_argument("--hours", type=hours, default=5.0, help="of background in the streams (default: %(default)s)")
    parser.add_argument("--workers", type=workers, default=available_cores(), help="processes (default: one a core)")
    parser.add_argument("--logmel-dir", type=Path, help="log-mel pictures of Speech Commands, <word>.tar.xz")
    return figures.main("measure_accuracy", measure, parser, argv)


if __name__ == "__main__":
    sys.exit(main())
