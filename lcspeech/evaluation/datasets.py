"""Public data sets as they lie on disk: Speech Commands (official split), its test archive, LibriSpeech."""

from __future__ import annotations

import contextlib
import hashlib
import logging
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lcspeech.audio import duration, files_below, find_audio, read_blocks
from lcspeech.errors import AudioError, DataError

_log = logging.getLogger(__name__)

BACKGROUND = "_background_noise_"  # the folder of Speech Commands' noise recordings
_MAX_PER_CLASS = 2**27 - 1  # of the official split rule


def speaker_of(clip: Path) -> str | None:
    """The speaker of ``0a7c2a8d_nohash_0.wav``, in Speech Commands' naming; None for other names."""
    speaker, mark, _ = clip.name.partition("_nohash_")
    return speaker if mark else None


def official_split(name: str, validation_percent: float = 10.0, testing_percent: float = 10.0) -> str:
    """The split that Speech Commands' own rule gives a file: by a hash of the speaker, so that no speaker is in two.

    `name` is like ``0a7c2a8d_nohash_0.wav``. The published lists were made by this rule.
    """
    speaker = speaker_of(Path(name)) or Path(name).stem
    percent = int(hashlib.sha1(speaker.encode()).hexdigest(), 16) % (_MAX_PER_CLASS + 1) * (100.0 / _MAX_PER_CLASS)
    if percent < validation_percent:
        return "validation"
    return "testing" if percent < validation_percent + testing_percent else "training"


def find_words(data_dir: Path) -> tuple[str, ...]:
    """The words of a folder in Speech Commands' layout.

    Raises:
        DataError: if there are none.
    """
    words = tuple(sorted(p.name for p in data_dir.glob("[!_.]*") if p.is_dir()))
    if not words:
        raise DataError(
            f"no word folders in '{data_dir}'; give the folder that holds yes/, no/, ... or fetch the data set"
        )
    return words


def find_clips(data_dir: Path, split: str) -> list[Path]:
    """The clips of one split ("training", "validation", "testing"): by the lists beside them, else by the hash rule.

    The lists name ``.wav`` files; the recordings may be of another format. "all" gives every clip.
    """
    listed: dict[str, str] = {}
    for name in ("validation", "testing"):
        path = data_dir / f"{name}_list.txt"
        if path.exists():
            listed |= {str(Path(line).with_suffix("")): name for line in path.read_text().split()}
    files: list[Path] = []
    for word in find_words(data_dir):
        with contextlib.suppress(AudioError):  # a folder without any
            files += find_audio([data_dir / word])

    def split_of(path: Path) -> str:
        key = f"{path.parent.name}/{path.stem}"
        return listed.get(key, "training") if listed else official_split(path.name)

    return [path for path in files if split == "all" or split_of(path) == split]


def find_utterances(root: Path) -> list[tuple[Path, tuple[str, ...], str]]:
    """Audio, words and speaker of each utterance in LibriSpeech's layout: ``speaker/chapter/*.trans.txt`` beside audio.

    `root` may be a part of it, as ``train-clean-5``, all of it, or what is one speaker's.

    Raises:
        DataError: if there are none.
    """
    utterances = []
    for transcript in _transcripts(root):
        audio = {path.stem: path for path in find_audio([transcript.parent])}
        for line in transcript.read_text(encoding="utf-8").splitlines():
            name, _, words = line.partition(" ")
            if name in audio:
                utterances.append((audio[name], tuple(words.lower().split()), transcript.resolve().parts[-3]))
    if not utterances:
        raise DataError(f"no utterances in '{root}'; it needs LibriSpeech's layout, speaker/chapter/*.trans.txt")
    return utterances


def _transcripts(root: Path) -> list[Path]:
    """At any depth, also in folders that are links."""
    files = files_below(root) if root.is_dir() else ()
    return sorted(path for path in files if path.name.endswith(".trans.txt"))


def is_speech_commands(data_dir: Path) -> bool:
    """Whether a folder has Speech Commands' split: its lists, or names that tell the speaker."""
    if any((data_dir / f"{split}_list.txt").exists() for split in ("validation", "testing")):
        return True
    return any(speaker_of(path) for path in data_dir.glob("*/*"))


def find_keyword_clips(data_dir: Path, keywords: Sequence[str], split: str | None) -> list[tuple[str, Path]]:
    """Keyword and file of the clips below `data_dir` in folders of the keywords' names, at any depth.

    A folder's name may be written large, or with "_" or "-" instead of spaces.

    For a single keyword that no folder is named after, all that is not Speech Commands is of it. `split` None is
    "validation" in Speech Commands' layout, and "all" elsewhere.

    Raises:
        DataError: if there are no clips of the keywords.
    """
    folders = [path for path in data_dir.glob("[!_.]*") if path.is_dir()]
    split = split or ("validation" if is_speech_commands(data_dir) else "all")
    clips = find_clips(data_dir, split) if folders else []
    names = {_plain(keyword): keyword for keyword in keywords} | {keyword: keyword for keyword in keywords}

    def keyword_of(folder: str) -> str | None:
        return names.get(folder) or names.get(_plain(folder))

    above = [(path, [keyword_of(part) for part in path.relative_to(data_dir).parts[:-1]]) for path in clips]
    wanted = [(words[-1], path) for path, found in above if (words := [word for word in found if word])]
    named = keyword_of(data_dir.resolve().name)
    if not wanted and len(keywords) == 1 and (not folders or named or not is_speech_commands(data_dir)):
        wanted = [(keywords[0], path) for path in clips or find_audio([data_dir])]
        if folders and not named:
            _log.warning(
                "no folder in '%s' is named %s: all %d recordings count as it", data_dir, keywords[0], len(wanted)
            )
    if not wanted:
        which = "" if split == "all" else f" of the {split} split"
        raise DataError(
            f"no clips{which} of {', '.join(keywords)} in '{data_dir}'; give a folder that holds one folder a keyword, "
            "or the clips of one keyword and its name (--keyword)"
        )
    return wanted


def _plain(name: str) -> str:
    """A keyword's name as a folder may have it: "Hey_Athena" is "hey athena"."""
    return name.lower().replace("_", " ").replace("-", " ")


def find_speech(root: Path, without: Collection[str], speakers: Collection[str] = ()) -> tuple[list[Path], int]:
    """Utterances in which none of `without`, words or phrases, is spoken, and how many were left out for one.

    In LibriSpeech's layout the transcripts tell; of any other folder all audio is taken as it is. `speakers` keeps
    only theirs.

    Raises:
        DataError: if nothing remains, or if speakers are asked for where none are told.
    """
    if not root.is_dir():
        raise DataError(f"no folder '{root}' of background speech; check its name")
    if not _transcripts(root):
        if speakers:
            raise DataError(f"'{root}' does not tell speakers; it needs LibriSpeech's layout, or leave --speakers out")
        return find_audio([root]), 0
    utterances = [(path, words) for path, words, who in find_utterances(root) if not speakers or who in speakers]
    unwanted = [f" {' '.join(_plain(keyword).split())} " for keyword in without]
    kept = [path for path, words in utterances if not any(each in f" {' '.join(words)} " for each in unwanted)]
    if not kept:
        raise DataError(f"no utterance in '{root}' is left without a keyword; check --speakers, or ask for fewer words")
    return kept, len(utterances) - len(kept)


def hours_of(files: Iterable[Path]) -> float:
    """How long the files are together, by their headers."""
    return round(sum(duration(file) or 0.0 for file in files) / 3600, 3)


def read_samples(path: Path, sample_rate: int) -> NDArray[np.float32]:
    """A whole file as mono float32 ``[n]``."""
    return np.concatenate([np.empty(0, np.float32), *read_blocks(path, sample_rate)])
