"""Log-mel pictures of another front end -> the package's own log-mel, by a map learned from clips that have both."""

from __future__ import annotations

import io
import lzma
import tarfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lcspeech.errors import DataError

Floats = NDArray[np.float32]


def read_pictures(archive: Path) -> dict[str, Floats]:
    """The pictures of one word, ``stem -> [98, 40]`` in [0, 1], time first, from ``<word>.tar.xz``."""
    from PIL import Image

    try:
        with tarfile.open(archive) as tar:
            members = ((Path(m.name).stem, tar.extractfile(m)) for m in tar if m.isfile())
            raw = {stem: file.read() for stem, file in members if file is not None}
        return {
            k: np.asarray(Image.open(io.BytesIO(v)).convert("L"), np.float32) / np.float32(255) for k, v in raw.items()
        }
    except (OSError, EOFError, lzma.LZMAError, tarfile.TarError) as error:
        raise DataError(f"cannot read the pictures in '{archive}': {error}") from error


class PictureMap:
    """A linear map from a log-mel picture to the package's own log-mel, learned from clips that have both.

    Each output frame is predicted from the five pictures' frames around it and the picture's least, greatest and
    mean value, which undo the scaling that each picture was given.
    """

    CONTEXT = 2
    RIDGE = 1.0
    MIN_CORRELATION = (
        0.9  # poorer pairs are different recordings of a word under one name: 0.8 and less, seldom between
    )

    def __init__(self, pictures: Floats, features: Floats) -> None:
        """Fit on pairs, ``[pairs, frames, bands]`` each; poor pairs are left out of a second fit."""
        self.matrix = self._fit(pictures, features)
        matched = np.array([self._correlation(p, f) for p, f in zip(pictures, features, strict=True)])
        kept = matched >= self.MIN_CORRELATION
        if not kept.any():
            raise DataError("no picture resembles its recording; check that both folders are the same data set")
        self.matrix = self._fit(pictures[kept], features[kept])
        mapped = np.stack([self(picture) for picture in pictures[kept]])
        self.pairs = int(kept.sum())
        self.residuals: Floats = features[kept] - mapped
        self.explained = 1 - (self.residuals**2).mean((0, 1)) / features[kept].var((0, 1))  # per band

    def __call__(self, picture: Floats) -> Floats:
        """``[frames, bands] -> [frames, bands]``."""
        return self._context(picture) @ self.matrix

    def sample(self, picture: Floats, generator: np.random.Generator) -> Floats:
        """The same with the residual of a random pair on top.

        A regression's answers are smoother than any recording; what it leaves out, most of all above the pictures'
        4 kHz, is put back at random, so that a network can neither tell pictures by it nor rely on it.
        """
        residual: Floats = self.residuals[generator.integers(self.pairs)]
        return self(picture) + residual

    def _context(self, picture: Floats) -> Floats:
        frames = len(picture)
        padded = np.pad(picture, ((self.CONTEXT, self.CONTEXT), (0, 0)), mode="edge")
        around = [padded[i : i + frames] for i in range(2 * self.CONTEXT + 1)]
        summary = np.tile([picture.min(), picture.max(), picture.mean(), 1.0], (frames, 1))
        return np.concatenate([*around, summary], axis=1, dtype=np.float32)

    def _fit(self, pictures: Floats, features: Floats) -> Floats:
        x = np.concatenate([self._context(picture) for picture in pictures]).astype(np.float64)
        y = features.reshape(len(x), -1).astype(np.float64)
        return np.linalg.solve(x.T @ x + self.RIDGE * np.eye(x.shape[1]), x.T @ y).astype(np.float32)

    def _correlation(self, picture: Floats, features: Floats) -> float:
        return float(np.corrcoef(self(picture).ravel(), features.ravel())[0, 1])
