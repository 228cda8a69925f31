"""``--keyword``: a word of the model, any text, a spelling in units or a keyword file, each with its own threshold."""

from __future__ import annotations

import argparse
import dataclasses
import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from lcspeech.cli._output import complain, on_terminal, say
from lcspeech.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from lcspeech.card import ModelCard
    from lcspeech.spotter import Spotter
    from lcspeech.units import Keyword

SAFE_UNITS = 4  # of a keyword; shorter ones are parts of many words
KEYWORD_FILE = ".json"
LONGEST_NAME = 200  # bytes of a file's name: most systems take 255, and one that is being written has a longer one


def is_own(card: ModelCard, text: str) -> bool:
    """Whether an argument names a word that a model was trained to tell."""
    return (text.rpartition(":")[0] or text).strip().lower() in {keyword.name.lower() for keyword in card.known()}


def is_file(text: str) -> bool:
    """Whether an argument names a keyword file, without a threshold of its own."""
    return text.lower().endswith(KEYWORD_FILE)


def check_output(path: Path) -> None:
    """See now, before minutes of work, that a keyword file can be written.

    Raises:
        UsageError: if it cannot, or would not be known as one by its name.
    """
    folder = path.absolute().parent
    if not folder.is_dir():
        raise UsageError(f"no folder '{folder}' to write '{path.name}' into; make it, or name another")
    if path.is_dir():
        raise UsageError(f"'{path}' is a folder; give the name of a file")
    if not is_file(path.name):
        raise UsageError(f"'{path}' is no name for a keyword file, by which it is known; let it end in {KEYWORD_FILE}")
    if len(os.fsencode(path.name)) > LONGEST_NAME:
        raise UsageError(f"the file's name, '{path.name[:20]}...', is too long; name it with --output")
    if not os.access(folder, os.W_OK):
        raise UsageError(f"'{folder}' cannot be written to; give a file elsewhere with --output")


def read_keyword(spotter: Spotter, text: str, threshold: float | None = None) -> Keyword:
    """The keyword that an argument names: ``WORDS``, ``NAME=UNITS`` or ``FILE.json``, each perhaps with ``:THRESHOLD``.

    Several pronunciations are ``NAME=UNITS|UNITS``.

    Its own threshold counts before `threshold`, which counts before that of the model or the file.

    Raises:
        UsageError: if it makes no sense; UnknownKeywordError, if nobody knows how to say it.
    """
    from lcspeech.units import Keyword

    body, colon, number = text.rpartition(":")
    if not colon or is_file(text):  # whose folders may be called anything
        body = text
    else:
        threshold = _score(number, text)
    name, equals, spelling = body.partition("=")
    if is_file(body):
        keyword = Keyword.load(body, spotter.units)
        chosen_for = (keyword.calibration or {}).get("model", keyword.model) or spotter.card.name
        if threshold is None and chosen_for != spotter.card.name:
            told = f"was chosen for '{chosen_for}', not for '{spotter.card.name}'; listen with --model {chosen_for}"
            complain("warning", f"the threshold of '{keyword.name}' {told}, or calibrate it again")
    elif equals:
        spellings = [_symbols(each, spotter.units.symbols) for each in spelling.split("|")]
        if not all(spellings):
            raise UsageError(f"'{text}' holds an empty pronunciation; give each as units, 'name=F OW N IY M Z'")
        keyword = spotter.spelled(name.strip(), spellings)
    else:
        keyword = spotter.keyword(body.strip() or body)
        if "," in body and all(is_own(spotter.card, part) for part in body.split(",")):
            complain("warning", f"'{keyword.name}' is one phrase, said in one breath; give each keyword apart")
        tell_guesses(spotter, keyword)
    return keyword if threshold is None else dataclasses.replace(keyword, threshold=threshold)


def read_keywords(spotter: Spotter, texts: Iterable[str], threshold: float | None = None) -> list[Keyword]:
    """All that the arguments name, with a warning about those too short to be safe, or of no use to the model."""
    from lcspeech import pretrained

    keywords = [read_keyword(spotter, text, threshold) for text in texts]
    trained = {sequence for keyword in spotter.card.known() for sequence in keyword.sequences}
    for keyword in keywords:
        if not spotter.hears(keyword):
            told = f"a word that '{spotter.card.name}' was not trained to tell, and hardly ever hears"
            complain("warning", f"'{keyword.name}' is {told}; give --model {pretrained.OPEN}")
        elif not trained.issuperset(keyword.sequences):
            warn_if_short(keyword, spotter.card)
    return keywords


def warn_if_short(keyword: Keyword, card: ModelCard) -> None:
    """Tell of a keyword that other words hold, and what false alarms to expect of one that is not learned."""
    if (length := min(map(len, keyword.sequences))) >= SAFE_UNITS:
        return
    alarms, expected = card.open.false_alarms, "many, unmeasured"
    if length <= len(alarms):
        expected = f"about {alarms[length - 1]:g} per hour of speech" if alarms[length - 1] else "none was measured"
    lower = "" if keyword.threshold >= 0.5 else f", more at {keyword.threshold:g}"
    told = f"; to expect at a threshold of 0.5: {expected}{lower}"
    if keyword.head is not None:
        told = ": 'lcspeech calibrate' tells how many in your room"
    sounds = "1 unit" if length == 1 else f"{length} units"
    complain(
        "warning",
        f"'{keyword.name}' is short, {sounds}, and other words hold it: hardly heard where it raises few "
        f"false alarms{told}",
    )


def tell_learnable(spotter: Spotter) -> None:
    """Who watches is told that a word which is only typed can be learned: of some, thrice as many are found then."""
    if not (on_terminal() and spotter.card.hidden):
        return
    trained = {sequence for keyword in spotter.card.known() for sequence in keyword.sequences}
    spelled = [keyword for keyword in spotter.keywords if not (keyword.head or keyword.scores)]
    if typed := [keyword for keyword in spelled if not trained.issuperset(keyword.sequences)]:
        learn = f"lcspeech enroll {shlex.quote(_as_typed(spotter, typed[0]))} --voices"
        told = f"'{typed[0].name}' is only typed; learned, which takes a minute, it is found more often"
        say(f"{told}: {learn}")


def _as_typed(spotter: Spotter, keyword: Keyword) -> str:
    """The argument that names a keyword: its name, if that says how it is spelled."""
    from lcspeech.errors import LcspeechError

    try:
        if spotter.keyword(keyword.name).sequences == keyword.sequences:
            return keyword.name
    except LcspeechError:
        pass  # a name that nobody can say
    return f"{keyword.name}={'|'.join(' '.join(sequence) for sequence in keyword.symbols)}"


def _symbols(spelling: str, units: Collection[str]) -> list[str]:
    """The units of a spelling, which may be as CMUdict writes it, with stress, or in small letters."""
    return [symbol if symbol in units else symbol.upper().rstrip("012") for symbol in spelling.split()]


def tell_guesses(spotter: Spotter, keyword: Keyword) -> None:
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
