"""Spot the keywords of the bundled recording, and compare with what was really said.

python demos/spot_recording.py
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import lcspeech

AUDIO = Path(__file__).parent / "audio" / "commands.flac"
LATE_SECONDS = 0.3  # the network spells a word a little after it was said


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    truth = json.loads(AUDIO.with_suffix(".json").read_text())["events"]
    spotter = lcspeech.Spotter.load()
    started = time.perf_counter()
    events = list(spotter.spot(AUDIO))
    seconds = time.perf_counter() - started
    print(f"{AUDIO.name} with {spotter.card.name}:\n\n   start     end  heard      score  said")
    right = 0
    for word in truth:
        said = word.get("keyword")
        heard = [e for e in events if e.start < word["end"] + LATE_SECONDS and e.end > word["start"]]
        for event in heard:
            events.remove(event)
            print(f"{event.start:8.2f}{event.end:8.2f}  {event.keyword:<10} {event.score:.2f}  {said or word['other']}")
        if not heard:
            print(f"{word['start']:8.2f}{word['end']:8.2f}  {'-':<10}  -    {said or word['other'] + ' (no keyword)'}")
        right += [event.keyword for event in heard] == ([said] if said else [])
    for event in events:
        print(f"{event.start:8.2f}{event.end:8.2f}  {event.keyword:<10} {event.score:.2f}  nothing")
    print(f"\n{right} of {len(truth)} words right, {len(events)} events where nothing was said, in {seconds:.2f} s")


if __name__ == "__main__":
    main()
