"""Truth of a recording: an Audacity label track, or the JSON that lies beside the bundled demo recording."""

from __future__ import annotations

import json
import math
from pathlib import Path

from lcspeech.errors import DataError
from lcspeech.evaluation.detection import Label


def read_labels(path: Path) -> list[Label]:
    """The labels of a file: lines of start, end and word, or ``{"events": [{"keyword", ...}]}``.

    Times are in seconds. Events of the JSON without a "keyword" are words that should not be heard.

    Raises:
        DataError: if the file cannot be read or is neither.
    """
    try:
        text = path.read_text("utf-8-sig")  # some editors begin a file with a mark
        labels = _json(text) if text.lstrip().startswith(("{", "[")) else _audacity(text)
    except OSError as error:
        raise DataError(f"cannot read the labels '{path}': {error.strerror}; check its name") from error
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"'{path}' is not a label file ({error}); export a label track from Audacity, "
            'or write {"events": [{"keyword": "yes", "start": 1.0, "end": 1.5}]}'
        ) from error
    return sorted(labels, key=lambda label: label.start)


def _json(text: str) -> list[Label]:
    content = json.loads(text)
    events = content["events"] if isinstance(content, dict) else content
    return [_label(e["keyword"], e["start"], e["end"]) for e in events if "keyword" in e]


def _audacity(text: str) -> list[Label]:
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("\\")]  # "\" lines: frequencies
    labels = []
    for line in lines:
        fields = line.split(None, 2)
        if len(fields) < 3:
            raise ValueError(f"'{line.strip()}' is not start, end and word")
        start, end, word = fields
        labels.append(_label(word.strip(), start, end))
    return labels


def _label(word: str, start: str | float, end: str | float) -> Label:
    if not isinstance(word, str):
        raise TypeError(f"{word} is no text")
    label = Label(word, float(start), float(end))
    if not 0 <= label.start <= label.end < math.inf:
        raise ValueError(f"a label from {start} to {end}")
    return label
