"""Training data as log-mel: Speech Commands (official split), its log-mel pictures, LibriSpeech and noise."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lcspeech.audio import find_audio
from lcspeech.card import DataSource, FeatureSettings
from lcspeech.errors import AudioError, DataError
from lcspeech.evaluation.datasets import find_clips, find_utterances, find_words, official_split, read_samples
from lcspeech.evaluation.protocols import Recording, Validation
from lcspeech.features import log_mel
from lcspeech.letter_to_sound import letter_to_sound
from lcspeech.pronunciation import pronunciations
from lcspeech.train.pictures import PictureMap, read_pictures
from lcspeech.units import PHONEMES

Floats = NDArray[np.float32]
Halves = NDArray[np.float16]  # features at rest: a quarter of a gigabyte per 33,000 clips, exact to 0.4 %

_log = logging.getLogger(__name__)

FETCHED = Path("SpeechCommands") / "speech_commands_v0.02"  # where torchaudio puts it

CLIP_SECONDS = 1.0
Source = Sequence[str]  # name, licence and address
PICTURES = ("Google Speech Commands, as pictures of log-mel features", "CC BY 4.0", "https://arxiv.org/abs/1804.03209")
SYNTHETIC = ("Words of CMUdict as flite's voices say them", "flite: BSD-like", "https://github.com/festvox/flite")


@dataclass(frozen=True)
class Clips:
    """Clips of one second: features ``[clips, frames, bands]``, the index of each one's word, and ``word/stem``."""

    log_mel: Halves
    words: NDArray[np.int64]
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.names)


@dataclass(frozen=True)
class Utterance:
    """A transcribed utterance: features ``[frames, bands]``, its words, its phonemes as units (None if not known)."""

    log_mel: Halves
    words: tuple[str, ...]
    units: tuple[int, ...] | None
    speaker: str


@dataclass(frozen=True)
class Corpus:
    """Everything that a training run sees. The clips' indices are places in `words`."""

    words: tuple[str, ...]
    clips: tuple[Clips, ...]  # recordings, then pictures if there are any
    validation: tuple[Clips, ...]  # the same
    utterances: tuple[Utterance, ...]  # of training speakers
    held_out: tuple[Utterance, ...]  # of validation speakers
    noise: Halves
    sources: tuple[DataSource, ...]
    synthetic: tuple[Utterance, ...] = ()

    def amounts(self) -> dict[str, dict[str, int]]:
        """Training recordings and pictures of each word."""
        counts = [np.bincount(clips.words, minlength=len(self.words)).tolist() for clips in self.clips]
        kinds = dict(zip(("recordings", "pictures"), [*counts, [0] * len(self.words)], strict=False))
        return {word: {kind: amount[i] for kind, amount in kinds.items()} for i, word in enumerate(self.words)}


def clip_features(samples: Floats, settings: FeatureSettings) -> Floats:
    """Log-mel of the first second of `samples`, filled up with digital silence: ``[98, bands]`` at 10 ms."""
    length = int(CLIP_SECONDS * settings.sample_rate)
    clip = np.zeros(length, np.float32)
    clip[: min(len(samples), length)] = samples[:length]
    return log_mel(clip, settings)


def read_clips(paths: Iterable[Path], words: Sequence[str], settings: FeatureSettings) -> Clips:
    """Clips whose folder names are in `words`. Silent files and such as cannot be read are left out, and logged."""
    features, labels, names = [], [], []
    for path in paths:
        if path.parent.name not in words:
            continue
        try:
            samples = read_samples(path, settings.sample_rate)
        except AudioError as error:
            _log.warning("left out: %s", error)
            continue
        if not samples.any():
            _log.warning("left out, it is silent: %s", path)
            continue
        features.append(clip_features(samples, settings).astype(np.float16))
        labels.append(words.index(path.parent.name))
        names.append(f"{path.parent.name}/{path.stem}")
    if not features:
        raise DataError("no clip of the words asked for; check the data folder, and that both splits are there")
    return Clips(np.stack(features), np.array(labels), tuple(names))


def read_utterance(path: Path, words: tuple[str, ...], speaker: str, settings: FeatureSettings) -> Utterance:
    """Features and phonemes of one utterance; CMUdict's first pronunciation of each word, or espeak-ng's."""
    spoken = [pronunciations(word) or (letter_to_sound(word),) for word in words]
    units = PHONEMES.encode(p for word in spoken for p in word[0]) if all(word[0] for word in spoken) else None
    features = log_mel(read_samples(path, settings.sample_rate), settings).astype(np.float16)
    return Utterance(features, words, units, speaker)


def find_noise(data_dir: Path, noise_dirs: Sequence[Path]) -> list[Path]:
    """Noise recordings: Speech Commands' own and those in `noise_dirs`.

    Raises:
        DataError: if there are none.
    """
    background = data_dir / "_background_noise_"
    files = find_audio([*([background] if background.exists() else []), *noise_dirs])
    if not files:
        raise DataError(f"no noise recordings in '{background}'; give folders that hold some as --noise-dir")
    return files


def read_noise(files: Sequence[Path], settings: FeatureSettings) -> Halves:
    """All noise recordings one after another, ``[frames, bands]``."""
    return np.concatenate([log_mel(read_samples(f, settings.sample_rate), settings) for f in files]).astype(np.float16)


def read_mapped_pictures(
    logmel_dir: Path, recorded: Clips, words: Sequence[str], validation: set[str]
) -> tuple[Clips, Clips, PictureMap]:
    """All pictures of `words` as log-mel, (training, validation), except those that have their recording in `recorded`.

    `validation` holds the ``word/stem`` of the official validation list; `recorded` are training clips.
    """
    archives = {word: logmel_dir / f"{word}.tar.xz" for word in words}
    pictures = {f"{w}/{k}": p for w, a in archives.items() if a.exists() for k, p in read_pictures(a).items()}
    shared = [(i, name) for i, name in enumerate(recorded.names) if name in pictures and name not in validation]
    if len(shared) < 1:
        raise DataError(f"no picture in '{logmel_dir}' has its recording in the data folder; the map cannot be learned")
    rows = [i for i, _ in shared]
    mapping = PictureMap(np.stack([pictures[n] for _, n in shared]), recorded.log_mel[rows].astype(np.float32))
    paired = set(recorded.names)

    generator = np.random.default_rng(0)  # the same features for every run, as if they were files

    def collect(names: list[str], render: Callable[[Floats], Floats]) -> Clips:
        features = [render(pictures[name]).astype(np.float16) for name in names]
        shape = recorded.log_mel.shape[1:]
        stacked = np.stack(features) if features else np.empty((0, *shape), np.float16)
        return Clips(stacked, np.array([words.index(n.split("/")[0]) for n in names], np.int64), tuple(names))

    training = [n for n in pictures if n not in validation and n not in paired and official_split(n) == "training"]
    held_out = [name for name in pictures if name in validation]
    return collect(training, lambda picture: mapping.sample(picture, generator)), collect(held_out, mapping), mapping


def read_validation_pictures(
    data_dir: Path, logmel_dir: Path, settings: FeatureSettings, words: Sequence[str], chosen: Collection[str]
) -> Clips:
    """Those of the words `chosen`, which hardly have recordings, by the map that training learns from all `words`."""
    recorded = read_clips(find_clips(data_dir, "training"), words, settings)
    pictures = read_mapped_pictures(logmel_dir, recorded, words, _listed(data_dir))[1]
    kept = np.isin(pictures.words, [words.index(word) for word in chosen])
    names = tuple(name for name, is_kept in zip(pictures.names, kept, strict=True) if is_kept)
    return Clips(pictures.log_mel[kept], pictures.words[kept], names)


def _listed(data_dir: Path) -> set[str]:
    """``word/stem`` of all validation clips, those that are here and those that the list names."""
    listed = {f"{path.parent.name}/{path.stem}" for path in find_clips(data_dir, "validation")}
    if (path := data_dir / "validation_list.txt").exists():
        listed |= {str(Path(line).with_suffix("")) for line in path.read_text().split()}
    return listed


def read_corpus(
    data_dir: Path,
    settings: FeatureSettings,
    logmel_dir: Path | None = None,
    librispeech_dir: Path | None = None,
    noise_dirs: Sequence[Path] = (),
    synthetic_dir: Path | None = None,
    *,
    sources: tuple[Source, Source, Source],
    validation_speakers: Sequence[str] = (),
) -> Corpus:
    """Read everything once. Words without a pronunciation in CMUdict are left out.

    `sources` are those of what is in `data_dir`, `librispeech_dir` and `noise_dirs`; `synthetic_dir` is laid out as
    LibriSpeech.
    """
    if logmel_dir is not None and not logmel_dir.is_dir():
        raise DataError(f"no folder '{logmel_dir}' of log-mel pictures; check its name")
    clips_source, talk_source, noise_source = sources
    pictured = {path.name.split(".")[0] for path in logmel_dir.glob("*.tar.xz")} if logmel_dir else set()
    words = tuple(word for word in sorted({*find_words(data_dir), *pictured}) if pronunciations(word))
    if unknown := sorted({*find_words(data_dir), *pictured} - set(words)):
        _log.warning("left out, CMUdict does not list them: %s", ", ".join(unknown))
    clips = [read_clips(find_clips(data_dir, "training"), words, settings)]
    validation = [read_clips(find_clips(data_dir, "validation"), words, settings)]
    if logmel_dir is not None:
        listed = _listed(data_dir)
        training_pictures, validation_pictures, _ = read_mapped_pictures(logmel_dir, clips[0], words, listed)
        clips.append(training_pictures)
        validation.append(validation_pictures)
    read, synthetic = (
        [read_utterance(*utterance, settings) for utterance in (find_utterances(folder) if folder else [])]
        for folder in (librispeech_dir, synthetic_dir)
    )
    utterances = tuple(utterance for utterance in read if utterance.speaker not in validation_speakers)
    held_out = tuple(utterance for utterance in read if utterance.speaker in validation_speakers)
    if read and not held_out:
        named = ", ".join(validation_speakers) or "none named"
        _log.warning(
            "no talk is kept out of training: none of the validation speakers (%s) is in '%s'; without, nobody can "
            "tell how often talk is taken for a word; name some with --validation-speakers",
            named,
            librispeech_dir,
        )
    if unspelled := sum(utterance.units is None for utterance in utterances):
        _log.warning("no phonemes of %d utterances; install espeak-ng, which says what CMUdict lacks", unspelled)
    noise = read_noise(find_noise(data_dir, noise_dirs), settings)
    recorded = len(np.unique(clips[0].words))
    heard = [_source(clips_source, f"{len(clips[0])} training recordings of {recorded} words")]
    if logmel_dir is not None:
        heard.append(_source(PICTURES, f"{len(clips[1])} training pictures"))
    for source, said in ((talk_source, utterances), (SYNTHETIC, synthetic)):
        if said:
            hours = sum(len(u.log_mel) for u in said) / settings.frame_rate / 3600
            heard.append(_source(source, f"{len(said)} utterances, {hours:.1f} h"))
    if noise_dirs:
        heard.append(_source(noise_source, f"{len(find_audio(noise_dirs))} recordings"))
    spoken = (utterances, held_out, noise, tuple(heard), tuple(synthetic))
    return Corpus(words, tuple(clips), tuple(validation), *spoken)


def _source(named: Source, amount: str) -> DataSource:
    name, licence, address = named
    return DataSource(name, licence, address, amount)


def read_validation(
    data_dir: Path, librispeech_dir: Path | None, noise_dirs: Sequence[Path], speakers: Sequence[str]
) -> Validation:
    """The validation clips, the utterances of the `speakers` kept out of training, and noise, which was not."""
    clips = tuple(Recording(path, (path.parent.name,)) for path in find_clips(data_dir, "validation"))
    utterances = find_utterances(librispeech_dir) if librispeech_dir is not None else []
    speech = tuple(Recording(path, words) for path, words, speaker in utterances if speaker in speakers)
    return Validation(clips, speech, tuple(Recording(path, ()) for path in find_noise(data_dir, noise_dirs)))


def download(root: Path) -> Path:
    """Fetch Speech Commands v0.02 through torchaudio (2.3 GB) unless it is there; returns the folder of words."""
    from torchaudio.datasets import SPEECHCOMMANDS

    complete, partial = root / FETCHED.parent, root / "partial"
    if not complete.is_dir():
        shutil.rmtree(partial, ignore_errors=True)  # torchaudio would take half an archive's files for all of them
        partial.mkdir(parents=True)
        try:
            SPEECHCOMMANDS(partial, url="speech_commands_v0.02", download=True)
        except (OSError, RuntimeError) as error:
            shutil.rmtree(partial, ignore_errors=True)
            raise DataError(
                f"cannot download Speech Commands into '{root}': {error}; check network and disk"
            ) from error
        (partial / complete.name).rename(complete)
        shutil.rmtree(partial)
    return root / FETCHED
