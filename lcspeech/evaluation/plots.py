"""Plots as inline SVG, pictures of log-mel as inline PNG: no library, nothing to fetch."""

from __future__ import annotations

import base64
import math
import struct
import zlib
from collections.abc import Mapping, Sequence
from html import escape

import numpy as np
from numpy.typing import NDArray

from lcspeech.evaluation.detection import Point

COLOURS = ("#2f6fdf", "#e07b1f", "#2a9d66", "#b3478f", "#7a6ff0", "#8a8f98")
_WIDTH, _HEIGHT = 640, 340
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 16, 14, 44  # margins
_TALLEST = 0.88  # of a histogram's bars, so that its marks can be named above them


def det(curves: Mapping[str, Sequence[Point]]) -> str:
    """Miss rate against false alarms per hour (logarithmic), each curve with its Wilson band.

    What had no false alarm is drawn at the left edge, at half an event in all the hours.
    """
    rates = [point.alarms.value for points in curves.values() for point in points if point.alarms.events]
    none = min((0.5 / points[0].alarms.hours for points in curves.values()), default=0.1)
    low = math.floor(math.log10(min([none, *rates])))
    high = max(low + 1, math.ceil(math.log10(max([10.0, *rates]))))

    def at(decade: float) -> float:
        return _LEFT + (decade - low) / (high - low) * (_WIDTH - _LEFT - _RIGHT)

    def x(rate: float) -> float:
        return at(math.log10(max(rate, none)))

    parts = [_grid_line(at(d), None, f"{10.0**d:g}") for d in range(low, high + 1)]
    parts += [_grid_line(None, _y(share), f"{100 * share:.0f} %") for share in (0, 0.2, 0.4, 0.6, 0.8, 1)]
    for colour, points in zip(_colours(), curves.values(), strict=False):
        upper = [(x(p.alarms.value), _y(p.misses.interval[1])) for p in points]
        lower = [(x(p.alarms.value), _y(p.misses.interval[0])) for p in points]
        line = [(x(p.alarms.value), _y(p.misses.value)) for p in points]
        parts.append(f'<polygon points="{_path(upper + lower[::-1])}" fill="{colour}" opacity=".13"/>')
        parts.append(f'<polyline points="{_path(line)}" fill="none" stroke="{colour}" stroke-width="2"/>')
    return _figure(parts, "false alarms per hour", "missed", list(curves))


def histogram(values: Sequence[float], marks: Mapping[str, float], unit: str) -> str:
    """How many of `values` lie where, with vertical `marks`."""
    counts, edges = np.histogram(values, bins=min(40, max(8, len(values) // 5)))
    first, last, most = float(edges[0]), float(edges[-1]), int(counts.max())
    scale = (_WIDTH - _LEFT - _RIGHT) / (last - first)

    def x(value: float) -> float:
        return _LEFT + (value - first) * scale

    step = 10.0 ** math.floor(math.log10(last - first))
    ticks = [i * step for i in range(math.ceil(first / step), math.floor(last / step) + 1)]
    parts = [_grid_line(x(tick), None, f"{tick:.4g}") for tick in ticks]
    parts += [_grid_line(None, _y(share * _TALLEST), f"{share * most:g}") for share in (0, 0.5, 1)]
    width = (edges[1] - edges[0]) * scale
    for count, edge in zip(counts.tolist(), edges.tolist(), strict=False):
        top = _y(_TALLEST * count / most)
        parts.append(
            f'<rect x="{x(edge) + 1:.1f}" y="{top:.1f}" width="{max(1.0, width - 2):.1f}" height="{_y(0) - top:.1f}" '
            f'fill="{COLOURS[0]}" opacity=".75"/>'
        )
    for name, value in marks.items():
        place = x(min(last, max(first, value)))
        parts.append(f'<line x1="{place:.1f}" x2="{place:.1f}" y1="{_TOP}" y2="{_y(0):.1f}" class="mark"/>')
        anchor = "end" if place > _WIDTH / 2 else "start"
        shift = -5 if anchor == "end" else 5
        parts.append(f'<text x="{place + shift:.1f}" y="{_TOP + 12}" text-anchor="{anchor}">{escape(name)}</text>')
    return _figure(parts, unit, "events", [])


def confusion(counts: Mapping[str, Mapping[str, int]], labels: Sequence[str]) -> str:
    """True labels in rows, the model's in columns; a cell is shaded by its share of the row."""
    size, margin = (52, 84) if len(labels) < 15 else (22, 76)
    parts = []
    for row, true in enumerate(counts):
        total = sum(counts[true].values())
        y = margin + row * size
        parts.append(f'<text x="{margin - 8}" y="{y + size / 2 + 4}" text-anchor="end">{escape(true)}</text>')
        for column, label in enumerate(labels):
            count = counts[true].get(label, 0)
            x, colour = margin + column * size, "#2f6fdf" if true == label else "#d64545"
            shade = math.sqrt(count / total) if total else 0.0  # a square root: single mistakes shall be seen
            title = f"<title>{escape(true)} labelled {escape(label)}: {count} of {total}</title>"
            parts.append(
                f'<rect x="{x}" y="{y}" width="{size - 2}" height="{size - 2}" rx="3" class="cell">{title}</rect>'
                f'<rect x="{x}" y="{y}" width="{size - 2}" height="{size - 2}" rx="3" fill="{colour}" '
                f'opacity="{0.85 * shade:.3f}">{title}</rect>'
            )
            if count and size > 30:  # else the title tells
                ink = ' class="on"' if shade > 0.6 else ""
                at = f'x="{x + size / 2 - 1}" y="{y + size / 2 + 4}" text-anchor="middle"'
                parts.append(f"<text {at}{ink}>{count}</text>")
    for column, label in enumerate(labels):
        middle = margin + column * size + size / 2
        at = f'x="{middle}" y="{margin - 8}" transform="rotate(-55 {middle} {margin - 8})"'
        parts.append(f"<text {at}>{escape(label)}</text>")
    width, height = margin + len(labels) * size + 50, margin + len(counts) * size
    return f'<svg viewBox="0 0 {width} {height}" style="max-width:{width}px" role="img">{"".join(parts)}</svg>'


def picture(log_mel: NDArray[np.float32]) -> str:
    """A ``data:`` address of a PNG of log-mel ``[frames, bands]``, low frequencies below."""
    image = log_mel.T[::-1]
    low, high = np.percentile(image, [5, 99.7]) if image.size else (0.0, 1.0)
    level = np.clip((image - low) / max(1e-6, float(high - low)), 0, 1)
    stops = np.array([[13, 17, 38], [58, 36, 110], [167, 52, 109], [240, 121, 61], [252, 236, 166]], np.float64)
    place = np.linspace(0, 1, len(stops))
    pixels = np.stack([np.interp(level, place, stops[:, c]) for c in range(3)], axis=-1).astype(np.uint8)
    return "data:image/png;base64," + base64.b64encode(_png(pixels)).decode()


def _png(pixels: NDArray[np.uint8]) -> bytes:
    """8-bit RGB ``[height, width, 3]``."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    height, width, _ = pixels.shape
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)  # 0: no filter
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b"")


def _y(share: float) -> float:
    return _TOP + (1 - share) * (_HEIGHT - _TOP - _BOTTOM)


def _colours() -> Sequence[str]:
    return COLOURS * 10


def _path(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


def _grid_line(x: float | None, y: float | None, text: str) -> str:
    if x is not None:
        line = f'x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{_y(0):.1f}"'
        return f'<line {line} class="grid"/><text x="{x:.1f}" y="{_y(0) + 17:.1f}" text-anchor="middle">{text}</text>'
    assert y is not None
    line = f'x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"'
    return f'<line {line} class="grid"/><text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{text}</text>'


def _figure(parts: Sequence[str], x_title: str, y_title: str, legend: Sequence[str]) -> str:
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    titles = (
        f'<text x="{middle}" y="{_HEIGHT - 6}" text-anchor="middle" class="title">{escape(x_title)}</text>'
        f'<text x="12" y="{_HEIGHT / 2 - 20}" text-anchor="middle" class="title" '
        f'transform="rotate(-90 12 {_HEIGHT / 2 - 20})">{escape(y_title)}</text>'
    )
    names = "".join(
        f'<rect x="{_WIDTH - 130}" y="{_TOP + 8 + 18 * i}" width="12" height="12" rx="2" fill="{colour}"/>'
        f'<text x="{_WIDTH - 112}" y="{_TOP + 18 + 18 * i}">{escape(name)}</text>'
        for i, (colour, name) in enumerate(zip(_colours(), legend, strict=False))
    )
    return f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img">{"".join(parts)}{titles}{names}</svg>'
