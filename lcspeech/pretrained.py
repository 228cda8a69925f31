"""Model names -> verified files: what is used of a model's folder is held to its SHA-256 first."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lcspeech.card import ModelCard
from lcspeech.errors import ModelError, UnknownModelError, UsageError

OPEN = "open"  # the shipped model for words that no model was trained to tell: typed or recorded ones
MODEL, CARD, METRICS, SPEED, CHECKSUMS = "model.onnx", "card.json", "metrics.json", "speed.json", "SHA256SUMS"


@dataclass(frozen=True)
class ModelFolder:
    """An installed model: its folder, its card and what the evaluation measured (empty if it was not evaluated)."""

    path: Path
    card: ModelCard
    metrics: dict[str, Any]

    @property
    def accuracy(self) -> float:
        """Share of validation clips that were labelled rightly; 0 if it was not measured."""
        return float(self.metrics.get("clips", {}).get("accuracy", 0.0))


def shipped() -> Path:
    """Where the models are that came with the package: inside it when installed, beside it in a checkout."""
    packaged = Path(__file__).parent / "_pretrained"
    return packaged if packaged.is_dir() else Path(__file__).parents[1] / "pretrained"


def models() -> dict[str, ModelFolder]:
    """The shipped models by name, the most accurate first."""
    folders = (read_folder(path.parent) for path in sorted(shipped().glob(f"[!.]*/{MODEL}")))
    return {folder.card.name: folder for folder in sorted(folders, key=lambda folder: -folder.accuracy)}


def folder_of(model: str | None = None) -> Path:
    """The folder of a shipped model, that of the best for None.

    Raises:
        UnknownModelError: if none of that name is shipped.
        ModelError: if it is damaged.
    """
    if model is not None and _is_shipped(model):
        return read_folder(shipped() / model).path  # whatever may be wrong with the others
    known = models()
    if model is None and known:
        return next(iter(known.values())).path
    if model in known:
        return known[str(model)].path
    listed = ", ".join(known) or "none"
    raise UnknownModelError(f"unknown model '{model}'; shipped: {listed}; or give a model's folder or .onnx file")


def read_folder(path: Path) -> ModelFolder:
    """Card and metrics of a model's folder.

    Raises:
        ModelError: if they cannot be read, or are damaged.
    """
    try:
        card = ModelCard.from_json(_verified(path / CARD).decode())
        metrics = json.loads(_verified(path / METRICS)) if (path / METRICS).exists() else {}
    except (OSError, ValueError) as error:
        raise ModelError(f"'{path}' is not a model's folder ({error}); install the model again") from error
    return ModelFolder(path, card, metrics)


def load(model: str | Path | None = None) -> bytes:
    """The verified content of a model file: of a shipped name, a folder or an .onnx file; None is the best shipped.

    Raises:
        UnknownModelError: if there is no such model; the message lists the shipped ones.
        ModelError: if it is damaged.
    """
    path = locate(model)
    try:
        return _verified(path)
    except (OSError, ValueError) as error:
        raise ModelError(f"cannot read the model '{path}' ({error}); install it again") from error


def _verified(path: Path) -> bytes:
    """The content of a file, which is the one that the checksums beside it were made of, if they list it.

    Raises:
        ModelError: if it is another.
        OSError, ValueError: if it, or the checksums, cannot be read.
    """
    content, sums = path.read_bytes(), path.with_name(CHECKSUMS)
    expected = checksums(sums.read_text(encoding="utf-8").splitlines()) if sums.exists() else {}
    if path.name in expected and hashlib.sha256(content).hexdigest() != expected[path.name]:
        raise ModelError(f"'{path}' is damaged: its SHA-256 is not the one in {CHECKSUMS}; install the model again")
    return content


def locate(model: str | Path | None) -> Path:
    """The model file that `load` reads. A shipped name is that, whatever lies in the working directory.

    Raises:
        UnknownModelError: if there is no such model.
    """
    if model is not None and not _is_shipped(model):
        path = Path(model)
        with contextlib.suppress(OSError):  # of a name that is too long for one, say
            if path.is_file():
                return path
            if (path / MODEL).is_file():
                return path / MODEL
            if path.is_dir() and str(model):
                raise UnknownModelError(f"no {MODEL} in the folder '{path}'; give that of a model, or an .onnx file")
    return folder_of(None if model is None else str(model)) / MODEL


def _is_shipped(model: str | Path) -> bool:
    if not isinstance(model, str) or Path(model).name != model:
        return False
    with contextlib.suppress(OSError):
        return (shipped() / model / MODEL).is_file()
    return False


def checksums(lines: Iterable[str]) -> dict[str, str]:
    """The digest of each file in the lines of a checksum file, in either of ``sha256sum``'s ways to write them.

    Raises:
        ValueError: if it is none.
    """
    listed = {
        name.removeprefix("*"): digest for digest, name in (line.split(maxsplit=1) for line in lines if line.strip())
    }
    if any(len(bytes.fromhex(digest)) != hashlib.sha256().digest_size for digest in listed.values()):
        raise ValueError("its digests are not of SHA-256")
    return listed


def write_checksums(folder: Path) -> None:
    """Write ``SHA256SUMS`` over the folder's other files, as ``sha256sum -c`` reads it."""
    files = sorted(path for path in folder.iterdir() if path.is_file() and path.name != CHECKSUMS)
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in files]
    write(folder / CHECKSUMS, "".join(lines).encode())


def check_replaceable(folder: Path) -> None:
    """Whether `replacing` may put a model's folder there.

    Raises:
        UsageError: if there is a file in its place, or a folder of something else, or it is the working directory, or
            above that.
    """
    if Path.cwd().is_relative_to(folder.resolve()):
        raise UsageError(f"'{folder}' is replaced as a whole, and you are in it; go elsewhere, or give another")
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"'{folder}' is a file; give a folder")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / CARD).exists():
        raise UsageError(f"'{folder}' would be replaced as a whole, and is no model's folder; give another")


@contextlib.contextmanager
def replacing(folder: Path) -> Iterator[Path]:
    """A model's folder to fill, beside its place, which it takes when that is done: no half of it is ever there.

    Raises:
        UsageError: as `check_replaceable` does.
    """
    check_replaceable(folder)
    folder = folder.resolve()  # where a link leads
    building, old = (folder.with_name(f".{folder.name}.{kind}") for kind in ("tmp", "old"))
    shutil.rmtree(building, ignore_errors=True)
    try:
        try:
            building.mkdir(parents=True)
        except OSError as error:  # which names the temporary folder
            raise OSError(error.errno, error.strerror, str(folder)) from error
        yield building
        if folder.exists():
            shutil.rmtree(old, ignore_errors=True)  # of an installation that was killed
            folder.rename(old)
        building.rename(folder)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    shutil.rmtree(old, ignore_errors=True)


def write(path: Path, content: bytes) -> None:
    """Write a file under a temporary name and rename it: whatever happens, no half of it is ever at `path`.

    A link stays one, and a file keeps its permissions. What is no file, and all of /dev, is appended to as it is.

    Raises:
        UsageError: if it is a folder.
    """
    if path.is_dir():
        raise UsageError(f"'{path}' is a folder; give the name of a file")
    if path.exists() and (not path.is_file() or path.absolute().parts[1:2] == ("dev",)):
        with path.open("ab") as device:
            device.write(content)
        return
    path = path.resolve()
    temporary = path.with_name(f".{uuid.uuid4().hex}.tmp")  # others may write the same file now
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())  # else, after a power cut, it may be there and empty
        if path.exists():
            shutil.copymode(path, temporary)
        temporary.replace(path)
    except OSError as error:  # which names the temporary file
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        with contextlib.suppress(OSError):  # of a disk that is not to be written to
            temporary.unlink(missing_ok=True)
