"""``--keyword``: a word of the model, any text, a spelling in units or a keyword file, each with its own threshold."""

from __future__ import annotations

import argparse
import dataclasses
from typing import TYPE_CHECKING

from lcspeech.cli._output import complain
from lcspeech.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lcspeech.card import ModelCard
    from lcspeech.spotter import Spotter
    from lcspeech.units import Keyword

SAFE_UNITS = 4  # of a keyword; shorter ones are parts of many words
KEYWORD_FILE = ".json"


def is_own(card: ModelCard, text: str) -> bool:
    """Whether an argument names a word that a model was trained to tell."""
    return (text.rpartition(":")[0] or text).lower() in {keyword.name for keyword in card.known()}


def read_keyword(spotter: Spotter, text: str, threshold: float | None = None) -> Keyword:
    """The keyword that an argument names: ``WORDS``, ``NAME=UNITS`` or ``FILE.json``, each perhaps with ``:THRESHOLD``.

    Its own threshold counts before `threshold`, which counts before that of the model or the file.

    Raises:
        UsageError: if it makes no sense; UnknownKeywordError, if nobody knows how to say it.
    """
    from lcspeech.units import Keyword

    body, colon, number = text.rpartition(":")
    if colon:
        threshold = _score(number, text)
    else:
        body = text
    name, equals, spelling = body.partition("=")
    if equals:
        keyword = spotter.spelled(name.strip(), [spelling.split()])
    elif body.lower().endswith(KEYWORD_FILE):
        keyword = Keyword.load(body, spotter.units)
    else:
        keyword = spotter.keyword(body)
        _tell_guesses(spotter, keyword)
    return keyword if threshold is None else dataclasses.replace(keyword, threshold=threshold)


def read_keywords(spotter: Spotter, texts: Iterable[str], threshold: float | None = None) -> list[Keyword]:
    """All that the arguments name, with a warning about those too short to be safe."""
    keywords = [read_keyword(spotter, text, threshold) for text in texts]
    trained = {sequence for keyword in spotter.card.known() for sequence in keyword.sequences}
    for keyword in keywords:
        if not trained.issuperset(keyword.sequences) and (length := min(map(len, keyword.sequences))) < SAFE_UNITS:
            alarms = spotter.card.open.false_alarms
            expected = (
                f"about {alarms[length - 1]:g} per hour of speech" if length <= len(alarms) else "many, unmeasured"
            )
            lower = "" if keyword.threshold >= 0.5 else f", more at {keyword.threshold:g}"
            complain(
                "warning",
                f"'{keyword.name}' is short, {length} units, and other words hold it: hardly heard where it raises few "
                f"false alarms; to expect at a threshold of 0.5: {expected}{lower}",
            )
    return keywords


def _tell_guesses(spotter: Spotter, keyword: Keyword) -> None:
    """Letter-to-sound takes a slip of the pen for a word; say what it made of it."""
    from lcspeech.pronunciation import closest, spell

    if is_own(spotter.card, keyword.name):
        return
    for word in spell(keyword.name).guessed:
        said, near = " ".join(keyword.symbols[0]), ", ".join(closest(word))
        meant = f"; did you mean {near}?" if near else ""
        complain("warning", f"'{word}' is not in CMUdict, espeak-ng spells '{keyword.name}' as {said}{meant}")


def _score(number: str, text: str) -> float:
    from lcspeech.cli._options import threshold

    try:
        return threshold(number)
    except argparse.ArgumentTypeError as error:
        raise UsageError(f"'{text}': {error}") from error
