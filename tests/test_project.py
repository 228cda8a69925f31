"""The package as a whole: what it promises in README and metadata, and what it ships."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import lcspeech
from lcspeech.cli import parse_args

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
MODELS = sorted(path for path in (ROOT / "pretrained").iterdir() if path.is_dir())
LARGEST_WHEEL = 10e6  # bytes


def test_the_public_names_are_sorted_and_there() -> None:
    assert lcspeech.__all__ == sorted(lcspeech.__all__)
    for name in lcspeech.__all__:
        assert getattr(lcspeech, name) is not None
    assert dir(lcspeech) == lcspeech.__all__
    with pytest.raises(AttributeError, match="no attribute 'banana'"):
        _ = lcspeech.banana


def test_the_readmes_python_runs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    (snippet,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    marvin = lcspeech.Event("marvin", 1.0, 1.5, 0.9)

    def listen(spotter: lcspeech.Spotter) -> Iterator[lcspeech.Event]:
        assert [keyword.name for keyword in spotter.keywords] == ["marvin", "stop"]
        assert spotter.threshold == 0.6
        yield marvin

    monkeypatch.setattr(lcspeech, "listen", listen, raising=False)
    monkeypatch.chdir(ROOT)
    names: dict[str, Any] = {"block": np.zeros(4_800, np.float32)}
    exec(snippet, names)
    assert names["events"] == []
    output = capsys.readouterr().out
    assert output.startswith("(Event(keyword='")
    assert output.endswith("marvin 1.0 1.5 0.9\n")


def shell_lines() -> list[str]:
    lines = [line.partition(" #")[0].strip() for line in README.splitlines() if line.startswith("    ")]
    return [line.rpartition("| ")[2].partition(" > ")[0] for line in lines if "lcspeech " in line and "git" not in line]


@pytest.mark.parametrize("line", [line for line in shell_lines() if line.startswith("lcspeech ")])
def test_the_readmes_commands_exist(line: str) -> None:
    assert callable(parse_args(shlex.split(line)[1:]).run)


def test_the_readme_names_every_command() -> None:
    named = {shlex.split(line)[1] for line in shell_lines() if line.startswith("lcspeech ")}
    assert {"listen", "spot", "models", "devices", "verify"} <= named
    assert "lcspeech export" in README


@pytest.mark.parametrize("model", MODELS)
def test_the_readmes_figures_are_those_measured(model: Path) -> None:
    metrics, speed = (json.loads((model / f"{name}.json").read_text()) for name in ("metrics", "speed"))
    clips, recall, alarms = metrics["clips"], metrics["stream_recall"], metrics["false_alarms_all_speech"]
    figures = [
        *(f"{100 * x:.1f}" for part in (clips, recall) for x in (part["accuracy"], *part["interval"])),
        *(f"{x:.1f}" for x in (alarms["per_hour"], *alarms["interval"])),
        f"{metrics['false_alarms']['per_hour']:.1f}",
        metrics["date"],
        speed["date"],
        speed["machine"],
        f"{speed['import_ms']:.0f} ms",
        f"{speed['spot_one_second_clip_s']:.2f} s",
        f"{speed['spot_file_times_real_time']:.0f} times",
        *(f"{percent:.2f} %" for percent in speed["live_percent_of_a_core"].values()),
        *(f"{peer['percent_of_a_core']:.2f} %" for peer in speed["peers"]),
        f"{speed['twenty_keywords']:.2f} |",
    ]
    if speed["twenty_learned"] is not None:
        figures.append(f"| {speed['twenty_learned']:.2f} |")
    if (model / "soak.json").exists():
        soak = json.loads((model / "soak.json").read_text())
        figures += [f"grew by {soak['memory_growth_mib']:.2f} MiB", f"drifted by {abs(soak['drift_ms']):.2f} ms"]
    assert [figure for figure in figures if figure not in README] == []


@pytest.mark.parametrize("model", MODELS)
def test_the_readmes_figures_of_the_protocols_are_those_measured(model: Path) -> None:
    measured = json.loads((model / "accuracy.json").read_text())
    at = measured["stream"]["all"]["at"]
    shares = [(measured[key]["accuracy"], measured[key]["interval"]) for key in ("v2-12", "v2-35", "pictures")]
    shares += [(at[rate]["miss_rate"], at[rate]["interval"]) for rate in ("1.0", "0.5")]
    figures = [f"{100 * x:.1f} % ({100 * low:.1f} to {100 * high:.1f})" for x, (low, high) in shares]
    figures.append("{median:.2f} s, {p95:.2f} s".format(**measured["stream"]["latency"]))
    words, *fainter = measured["fainter"].values()
    as_it_is, *others = (f"{100 * heard['found'] / words:.1f}" for heard in fainter)
    figures.append(f"{as_it_is}; {', '.join(others)} %")
    assert [figure for figure in figures if figure not in README] == []


OWN_WORDS = {  # rows of README's table, and what the recipe calls them
    "typed": "typed",
    "learned from voices": "voices",
    "recorded five times, `--quick`": "pronounced",
    "recorded five times": "recorded",
    "recorded and from voices": "both",
    "PocketSphinx": "pocketsphinx",
}


@pytest.mark.parametrize(("row", "kind"), OWN_WORDS.items())
def test_the_readmes_figures_of_own_words_are_those_measured(row: str, kind: str) -> None:
    cells = [row]
    for word in ("athena", "amelia"):
        figures = json.loads((ROOT / "pretrained" / "open" / f"{word}.json").read_text())
        for how in ("", ", best threshold"):
            trials = [trial for trial in figures["trials"] if re.sub(r" \d+", "", trial["kind"]) == kind + how]
            if not trials:  # PocketSphinx is measured at its best threshold alone
                cells.append("")
                continue
            found = 100 * np.mean([trial["found"] for trial in trials])
            quiet, noisy = np.mean([list(trial["false_alarms_per_hour"].values()) for trial in trials], axis=0)
            cells.append(f"{found:.1f} %; {quiet:.1f}/{noisy:.1f}")
    assert f"| {' | '.join(cells)} |".replace("|  |", "| |") in README


def test_the_readmes_figures_of_the_gate_are_those_measured() -> None:
    figures = json.loads((ROOT / "pretrained" / "commands-dynamic" / "gate.json").read_text())
    assert f"measure_gate.py` on {figures['date']}" in README
    for name, scene in figures["scenes"].items():
        shares = (scene["speech"], scene["open"], scene["cpu_saved"])
        assert f"| {name} | {' | '.join(f'{100 * share:.0f} %' for share in shares)} |".replace("-0 %", "0 %") in README
        if scene["words"]:
            gated, ungated = scene["gated"]["found"], scene["ungated"]["found"]
            assert f"| {gated} of {scene['words']} | {ungated} |" in README


@pytest.mark.parametrize(("figures", "text"), [("frontends", "README.md"), ("ablation", "recipes/README.md")])
def test_the_figures_of_front_ends_are_those_measured(figures: str, text: str) -> None:
    measured = json.loads((ROOT / "recipes" / f"{figures}.json").read_text())
    lines = (ROOT / text).read_text().splitlines()
    for row in measured["rows"]:
        (line,) = (line for line in lines if line.startswith(f"| {row['front_end']} |"))
        accuracy = 100 * np.mean(row["accuracy"])
        wanted = f"| {accuracy:.1f} % | {row['parameters']:,} | {row['macs_per_clip'] / 1e6:.1f} | "
        assert wanted + f"{row['clips_per_second']:.0f} | {row['times_first']:.2f} |" in line


def test_the_runtime_needs_no_torch() -> None:
    runtime = {re.split(r"[><=]", name)[0] for name in PROJECT["dependencies"]}
    assert runtime == {"numpy", "onnxruntime", "rich", "sounddevice", "soundfile", "soxr"}
    assert {"torch>=2.8,<2.12", "torchaudio>=2.8,<2.11.1"} <= set(PROJECT["optional-dependencies"]["train"])


def test_the_wheel_is_small_and_brings_the_models(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path], cwd=ROOT, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.stat().st_size < LARGEST_WHEEL
    with zipfile.ZipFile(wheel) as content:
        names = set(content.namelist())
        assert {name.split("/")[0] for name in names} == {"lcspeech", f"lcspeech-{lcspeech.__version__}.dist-info"}
        assert "lcspeech/py.typed" in names  # or nobody's type checker sees the types
        for path in (path for model in MODELS for path in model.iterdir()):
            assert content.read(f"lcspeech/_pretrained/{path.parent.name}/{path.name}") == path.read_bytes()
        assert content.read("lcspeech/_pretrained/talk.ogg") == (ROOT / "pretrained" / "talk.ogg").read_bytes()
        metadata = content.read(f"lcspeech-{lcspeech.__version__}.dist-info/METADATA").decode()
    needed = [line for line in metadata.splitlines() if line.startswith("Requires-Dist: ") and "extra ==" not in line]
    assert len(needed) == len(PROJECT["dependencies"])


def test_the_demo_recording_and_its_truth_agree() -> None:
    truth = json.loads((ROOT / "demos" / "audio" / "commands.json").read_text())
    seconds = soundfile.info(ROOT / "demos" / "audio" / truth["audio"]).duration
    assert 50 <= seconds <= 90
    ends = [0.0]
    for event in truth["events"]:
        assert ends[-1] < event["start"] < event["end"] < seconds
        ends.append(event["end"])
    keywords = [event["keyword"] for event in truth["events"] if "keyword" in event]
    assert len(keywords) >= 20
    assert len(truth["events"]) > len(keywords)  # words that must not be heard too


def test_the_demo_says_what_it_should_have_been() -> None:
    result = subprocess.run(
        [sys.executable, "demos/spot_recording.py"],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    found = re.search(r"(\d+) of (\d+) words right, (\d+) events where nothing was said", result.stdout)
    assert found is not None
    right, total, spurious = map(int, found.groups())
    assert right >= 0.7 * total  # the model finds 83 % of the words of the validation stream
    assert spurious <= 2
