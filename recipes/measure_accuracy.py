"""Measure models by the published protocols and in long streams, and write accuracy.json into the folder of each.

    python recipes/measure_accuracy.py --data-dir speech_commands --speech librispeech/train-clean-5 \\
        --speakers 1737 2136 3526 6848 8629 --noise noise --logmel-dir speech_commands_logmel

All of the validation split: twelve classes and 35 words (`lcspeech eval clips`), log-mel pictures of words that hardly
have recordings, and the ten commands in streams at 10 dB (`lcspeech eval stream`).
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from lcspeech import LcspeechError, Spotter, pretrained
from lcspeech.audio import find_audio
from lcspeech.card import FeatureSettings
from lcspeech.evaluation.clips import ALL_WORDS, COMMANDS, V2_12, V2_35, evaluate_clips, protocol_clips, protocol_label
from lcspeech.evaluation.datasets import find_clips, find_keyword_clips, find_speech, hours_of
from lcspeech.evaluation.listening import ListeningTask, hear
from lcspeech.evaluation.metrics import Proportion
from lcspeech.evaluation.parallel import SpotterOptions, available_cores, run_tasks
from lcspeech.evaluation.streams import LONG, plan_streams
from lcspeech.evaluation.summary import summarise
from lcspeech.scoring import ClosedSet
from lcspeech.train.data import Clips, read_clips, read_mapped_pictures

ACCURACY = "accuracy.json"
RARE = ("on", "off", "stop")  # of whose recordings there are ten each
SNR_DB, TOLERANCE_SECONDS = 10.0, 0.5
SILENT_FRAMES = 32  # before and after a picture


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", nargs="+", help="shipped models (default: all)")
    parser.add_argument("--data-dir", type=Path, required=True, help="Speech Commands")
    parser.add_argument("--speech", type=Path, required=True, help="LibriSpeech, for the streams")
    parser.add_argument(
        "--speakers", nargs="+", default=[], help="only these of its speakers: those kept out of training"
    )
    parser.add_argument("--noise", type=Path, required=True, help="noise, for the streams")
    parser.add_argument("--hours", type=float, default=5.0, help="of background in the streams (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=available_cores(), help="processes (default: one a core)")
    parser.add_argument("--logmel-dir", type=Path, help="log-mel pictures of Speech Commands, <word>.tar.xz")
    return parser.parse_args(argv)


def read_pictures(data_dir: Path, logmel_dir: Path) -> Clips:
    """The validation pictures of the rare words as log-mel, by the map that training uses."""
    features = FeatureSettings()
    recorded = read_clips(find_clips(data_dir, "training"), ALL_WORDS, features)
    listed = {str(Path(p.parent.name) / p.stem) for p in find_clips(data_dir, "validation")}
    listed |= {str(Path(line).with_suffix("")) for line in (data_dir / "validation_list.txt").read_text().split()}
    pictures = read_mapped_pictures(logmel_dir, recorded, ALL_WORDS, listed)[1]
    rare = np.isin(pictures.words, [ALL_WORDS.index(word) for word in RARE])
    names = tuple(name for name, is_rare in zip(pictures.names, rare, strict=True) if is_rare)
    return Clips(pictures.log_mel[rare], pictures.words[rare], names)


def picture_accuracy(spotter: Spotter, pictures: Clips) -> dict[str, Any]:
    """Among the twelve classes."""
    card = spotter.card
    words = ClosedSet(card.known(), (), card.search.unknown_bias, card.search.silence_bias)
    silence = np.full((SILENT_FRAMES, card.features.n_mels), np.log(card.features.floor), np.float32)
    right = 0
    for picture, word in zip(pictures.log_mel, pictures.words, strict=True):
        frames = np.concatenate([silence, picture.astype(np.float32), silence])
        frames = frames[: len(frames) // card.time_stride * card.time_stride]
        posteriors = words.posteriors(spotter.encoder.run(frames, spotter.quiet)[0])
        ranked = sorted(zip(words.labels, posteriors.tolist(), strict=True), key=lambda pair: -pair[1])
        right += protocol_label(V2_12, ranked)[0] == ALL_WORDS[word]
    share = Proportion(right, len(pictures))
    return {"accuracy": share.value, "interval": share.interval, "clips": share.total, "words": RARE}


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    command = shlex.join(["python", "recipes/measure_accuracy.py", *(sys.argv[1:] if argv is None else argv)])
    try:
        folders = {name: pretrained.folder_of(name) for name in args.model or pretrained.models()}
        clips = {p: protocol_clips(args.data_dir, "validation", p, ()) for p in (V2_12, V2_35)}
        pictures = read_pictures(args.data_dir, args.logmel_dir) if args.logmel_dir else None
        said = find_keyword_clips(args.data_dir, COMMANDS, "validation")
        speech, _ = find_speech(args.speech, COMMANDS, args.speakers)
        noise = find_audio([args.noise])
        plans = plan_streams(said, speech, noise, args.hours, [SNR_DB], LONG, 0)
        material = {"speech_hours": hours_of(speech), "noise_hours": hours_of(noise)}  # which are heard again and again
        tasks = [ListeningTask(plan, TOLERANCE_SECONDS) for plan in plans]
        for name, folder in folders.items():
            spotter, options = Spotter.load(name), SpotterOptions(name)
            figures: dict[str, Any] = {"date": datetime.now(UTC).date().isoformat(), "command": command}
            for protocol, chosen in clips.items():
                figures[protocol] = evaluate_clips(spotter.card, options, chosen, protocol, args.workers).to_json(name)
            if pictures is not None:
                figures["pictures"] = picture_accuracy(spotter, pictures)
            heard = run_tasks(hear, tasks, SpotterOptions(name, COMMANDS), args.workers)
            figures["stream"] = {**material, **summarise(heard, COMMANDS).to_json()}
            for curve in figures["stream"]["keywords"].values():
                del curve["curve"]  # that of all together is enough
            pretrained.write(folder / ACCURACY, (json.dumps(figures, indent=1) + "\n").encode())
            pretrained.write_checksums(folder)
            low = {rate: f"{100 * at['miss_rate']:.1f} %" for rate, at in figures["stream"]["all"]["at"].items()}
            shares = {k: f"{100 * figures[k]['accuracy']:.2f} %" for k in (V2_12, V2_35, "pictures") if k in figures}
            print(f"{name}: {shares}; missed at so many false alarms an hour: {low}", flush=True)
    except (LcspeechError, OSError) as error:
        print(f"measure_accuracy: error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
