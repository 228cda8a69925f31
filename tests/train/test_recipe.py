"""The recipe as a user runs it: a process of its own, on a small made-up Speech Commands."""

# ruff: noqa: E402
from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

torch = pytest.importorskip("torch")

from lcspeech import Spotter
from lcspeech.cli import main as lcspeech

ROOT = Path(__file__).parents[2]
RECIPES = ROOT / "recipes"
RATE = 16_000
TINY = "--name made-up --hidden 8 --steps-per-epoch 2 --batch 4 --utterance-batch 2 --utterance-every 1 --threads 1 "
TINY += "--verifier-hours 0.5 "
TINY += "--warmup-epochs 1 --ramp-epochs 1 --talk-share 0.9 --keywords yes no --validation-speakers 20 --enough-clips 1"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two words of ten clips, background noise, and three utterances of two speakers."""
    root, random = tmp_path_factory.mktemp("data"), np.random.default_rng(0)

    def write(name: str, hz: float, seconds: float) -> None:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        time = np.arange(round(seconds * RATE)) / RATE
        sound = 0.3 * np.sin(2 * np.pi * hz * time) * (np.abs(time - seconds / 2) < seconds / 4)
        soundfile.write(path, sound + 0.01 * random.standard_normal(len(time)), RATE)

    for word, hz in (("yes", 500.0), ("no", 1_500.0), ("dog", 3_000.0)):
        for speaker in range(10):
            write(f"commands/{word}/{speaker:08x}_nohash_0.wav", hz + 20 * speaker, 1.0)
    listed = [f"{word}/{speaker:08x}_nohash_0.wav" for word in ("yes", "no", "dog") for speaker in (8, 9)]
    (root / "commands" / "validation_list.txt").write_text("\n".join(listed))
    (root / "commands" / "testing_list.txt").write_text("")
    write("commands/_background_noise_/hum.wav", 50, 5.0)
    for speaker, chapter, words in (("19", "1", "DOGS AND CATS"), ("19", "2", "HE SAID NO"), ("20", "3", "OH DEAR")):
        name = f"{speaker}-{chapter}-0000"
        write(f"speech/{speaker}/{chapter}/{name}.flac", 800, 2.0)
        (root / "speech" / speaker / chapter / f"{speaker}-{chapter}.trans.txt").write_text(f"{name} {words}\n")
    return root


def command(data: Path, run: Path, *more: str) -> list[str]:
    folders = f"--data-dir {data}/commands --librispeech-dir {data}/speech --run-dir {run} --install-dir {run}/out"
    return [sys.executable, str(RECIPES / "train_kws.py"), *folders.split(), *TINY.split(), *more]


def train(data: Path, run: Path, *more: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        command(data, run, *more), capture_output=True, text=True, timeout=300, check=False, env=env, cwd=data
    )


def start(data: Path, run: Path, *more: str) -> subprocess.Popen[str]:
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command(data, run, *more), stderr=subprocess.PIPE, text=True, env=env, cwd=data)


def wait_for(path: Path) -> None:
    end = time.monotonic() + 120
    while not path.exists():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.fixture(scope="module")
def finished(data: Path) -> Path:
    run = data / "whole"
    result = train(data, run, "--epochs", "3")
    assert result.returncode == 0, result.stderr
    assert re.search(r"installed .*/made-up: \d+\.\d\d % of 6 clips", result.stdout)
    return run


def test_a_run_leaves_log_plot_checkpoint_and_a_model(finished: Path) -> None:
    lines = [json.loads(line) for line in (finished / "log.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2, 3]
    assert {"pooled", "clips", "utterances", "false_alarms", "accuracy", "misses", "seconds", "machine"} <= set(
        lines[-1]
    )
    assert (finished / "log.png").read_bytes().startswith(b"\x89PNG")
    spotter = Spotter.load(finished / "out" / "made-up")
    assert [keyword.name for keyword in spotter.keywords] == ["yes", "no"]
    assert [word.name for word in spotter.card.fillers] == ["dog"]
    metrics = json.loads((finished / "out" / "made-up" / "metrics.json").read_text())
    assert metrics["command"].startswith("python recipes/train_kws.py --data-dir ")
    assert metrics["command"].endswith(" --epochs 3")
    assert metrics["false_alarms"]["hours"] == pytest.approx(2.5 / 3600)  # one utterance of the speaker kept out


def test_a_run_is_not_begun_over_another(data: Path, finished: Path) -> None:
    before = (finished / "checkpoint.pt").read_bytes()
    result = train(data, finished, "--epochs", "3")
    assert result.returncode == 1
    assert "holds a training; --resume goes on with it, --run-dir names another" in result.stderr
    assert (finished / "checkpoint.pt").read_bytes() == before


def test_synthetic_speech_is_not_left_out_silently(data: Path, tmp_path: Path) -> None:
    synthetic = [*command(data, tmp_path / "run"), "--synthetic-dir", f"{data}/speech"]
    at = synthetic.index("--librispeech-dir")
    del synthetic[at : at + 2]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    result = subprocess.run(synthetic, capture_output=True, text=True, check=False, env=env, cwd=data)
    assert result.returncode == 1
    assert "--synthetic-dir is heard beside utterances of --librispeech-dir; give that, too" in result.stderr


def test_its_model_verifies(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert lcspeech(["verify", str(finished / "out" / "made-up")]) == 0
    assert "good" in capsys.readouterr().out


def checkpoint_of(run: Path) -> dict[str, Any]:
    content: dict[str, Any] = torch.load(run / "checkpoint.pt", weights_only=True)
    return content


def test_a_killed_run_goes_on_to_the_bit(data: Path, finished: Path) -> None:
    run = data / "killed"
    with start(data, run, "--epochs", "3") as process:
        wait_for(run / "checkpoint.pt")
        process.kill()
    assert checkpoint_of(run)["epoch"] < 3
    result = train(data, run, "--epochs", "3", "--resume")
    assert result.returncode == 0, result.stderr
    whole, resumed = checkpoint_of(finished)["average"], checkpoint_of(run)["average"]
    assert whole.keys() == resumed.keys()
    for name, value in whole.items():
        assert torch.equal(value, resumed[name]), name
    epochs = [json.loads(line)["epoch"] for line in (run / "log.jsonl").read_text().splitlines()]
    assert epochs == [1, 2, 3]


def test_an_interrupt_says_how_to_go_on(data: Path) -> None:
    run = data / "stopped"
    with start(data, run, "--epochs", "500") as process:
        wait_for(run / "checkpoint.pt")
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
        assert process.stderr is not None
        last = process.stderr.read().splitlines()[-1]
    assert last.startswith("stopped; go on with: python recipes/train_kws.py --data-dir ")
    assert last.endswith("--epochs 500 --resume")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--data-dir", "nowhere"], 1, "no word folders in 'nowhere'"),
        (["--logmel-dir", "nowhere"], 1, "no folder 'nowhere' of log-mel pictures"),
        (["--librispeech-dir", "nowhere"], 1, "no utterances in 'nowhere'"),
        (["--keywords", "yes", "xyzzy"], 1, "no pronunciation of 'xyzzy' in CMUdict"),
        (
            ["--keywords", "yes", "banana", "two"],
            1,
            "no recordings of banana, two; add them, or leave them out of --key",
        ),
        (["--name", ""], 1, "setting 'name' is ; give a folder's name"),
        (["--name", ".."], 1, "setting 'name' is ..; give a folder's name"),
        (["--aligner", "nowhere.pt"], 1, "--aligner finds the words of --spliced utterances"),
        (["--install-dir", ".", "--name", "speech"], 1, "is no model's folder; give another"),
        (["--batch", "0"], 1, "setting 'batch' is 0; give 1 or more"),
        (["--run-dir", __file__], 1, "is a file; give a folder"),
        (["--install-dir", __file__], 1, "is a file; give a folder"),
        (["--resume"], 1, "nothing to resume"),
        (["--epochs", "many"], 2, "argument --epochs: invalid int value: 'many'"),
        (["--banana"], 2, "unrecognized arguments: --banana"),
        (["--talk-source", "Mine"], 1, "give three: its name, licence and address, which go into the model card"),
    ],
)
def test_what_is_wrong_is_one_line(data: Path, arguments: list[str], code: int, said: str, tmp_path: Path) -> None:
    result = train(data, tmp_path / "run", "--epochs", "1", *arguments)
    assert result.returncode == code
    assert "Traceback" not in result.stderr
    assert said in result.stderr.splitlines()[-1]


def test_a_teacher_teaches(data: Path, finished: Path) -> None:
    run, out = data / "teacher", data / "taught"
    folders = ["--data-dir", f"{data}/commands", "--librispeech-dir", f"{data}/speech", "--run-dir", str(run)]
    result = subprocess.run(
        [sys.executable, RECIPES / "train_teacher.py", *folders, *TINY.split(), "--epochs", "1", "--scale", "0.25"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert re.search(r"wrote .*/posteriors.npz, of a teacher that labels \d+\.\d\d % rightly", result.stdout)
    taught = train(
        data, out, "--epochs", "3", "--teacher", f"{run}/posteriors.npz", "--init", f"{finished}/checkpoint.pt"
    )
    assert taught.returncode == 0, taught.stderr
    begun, own = (Spotter.load(path / "out" / "made-up").card.data for path in (finished, out))
    assert set(begun) <= set(own)  # what it began with was trained on its data
    assert "distillation" in json.loads((out / "log.jsonl").read_text().splitlines()[-1])


def test_a_network_gets_a_gate(data: Path, finished: Path, tmp_path: Path) -> None:
    folders = ["--data-dir", f"{data}/commands", "--librispeech-dir", f"{data}/speech", "--run-dir", f"{tmp_path}/run"]
    small = ["--epochs", "1", "--gate-hidden", "8", "--replay-frames", "24", "--install-dir", f"{tmp_path}/out"]
    gate = [sys.executable, RECIPES / "train_gate.py", "--behind", finished / "checkpoint.pt", *folders]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    result = subprocess.run([*gate, *TINY.split(), *small], capture_output=True, text=True, check=True, env=env)
    assert "% of the words found in a stream" in result.stdout
    spotter = Spotter.load(tmp_path / "out" / "made-up")
    assert (spotter.card.gate.hidden, spotter.card.gate.replay, spotter.card.gate.step) == (8, 24, 12)
    assert spotter.log_probs(np.zeros(RATE, np.float32), sample_rate=RATE).shape == (37, 40)
    assert "train_gate.py" in json.loads((tmp_path / "out" / "made-up" / "metrics.json").read_text())["command"]


def test_a_checkpoint_gets_a_verifier(data: Path, finished: Path, tmp_path: Path) -> None:
    """This network finds nothing yet, so there is nothing to learn; but all else is as for one that does."""
    checkpoint = Path(shutil.copy(finished / "checkpoint.pt", tmp_path))
    folders = [
        "--data-dir",
        f"{data}/commands",
        "--librispeech-dir",
        f"{data}/speech",
        "--install-dir",
        f"{tmp_path}/out",
    ]
    fit = [sys.executable, RECIPES / "train_verifier.py", "--checkpoint", checkpoint, *folders, *TINY.split()]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    result = subprocess.run(fit, capture_output=True, text=True, check=True, env=env)
    assert "no verifier: the search finds too little in 0.5 hours" in result.stderr
    assert "% of the words found in a stream" in result.stdout
    assert not Spotter.load(tmp_path / "out" / "made-up").card.verified
    assert "train_verifier.py" in json.loads((tmp_path / "out" / "made-up" / "metrics.json").read_text())["command"]


@pytest.mark.parametrize("ablation", [False, True])
def test_front_ends_are_compared(data: Path, tmp_path: Path, ablation: bool) -> None:
    pytest.importorskip("torchvision")
    tiny = [*TINY.split(), "--epochs", "1", "--steps-per-epoch", "1"]
    command = [sys.executable, str(RECIPES / "compare_frontends.py"), "--data-dir", f"{data}/commands", *tiny]
    command += ["--run-dir", str(tmp_path), "--output", f"{tmp_path}/table.json", *(["--ablation"] * ablation)]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    result = subprocess.run(command, capture_output=True, text=True, check=True, env=env)
    table = json.loads((tmp_path / "table.json").read_text())["rows"]
    assert len(table) == (11 if ablation else 6)
    assert table[0]["front_end"] == "PP-LCNet tiny"
    assert table[0]["times_first"] == 1
    for row in table:
        assert row["front_end"] in result.stdout
        assert min(row["parameters"], row["macs_per_clip"], row["clips_per_second"]) > 0
        assert len(row["accuracy"]) == 1
    assert len({row["macs_per_clip"] for row in table}) > len(table) / 2
    if ablation:
        only = [*command, "--resume", "--only", "no SE", "GRU of 64"]
        again = subprocess.run(only, capture_output=True, text=True, check=True, env=env)
        assert [row["front_end"] for row in json.loads((tmp_path / "table.json").read_text())["rows"]] == only[-2:]
        for wrong, said in (
            (["--only", "no SE", "PP-LCNet base"], "'PP-LCNet base' is no line of this table"),
            (["--output", f"{tmp_path}/nowhere/table.json"], "no folder '"),
        ):
            result = subprocess.run([*command, *wrong], capture_output=True, text=True, check=False, env=env)
            assert result.returncode == 1
            assert said in result.stderr
    else:  # done already: nothing is trained again, and the figures are the same but for the speed
        again = subprocess.run([*command, "--resume"], capture_output=True, text=True, check=True, env=env)
        assert again.returncode == 0
        rows = json.loads((tmp_path / "table.json").read_text())["rows"]
        assert [row["accuracy"] for row in rows] == [row["accuracy"] for row in table]


def test_help_explains_every_knob() -> None:
    result = subprocess.run(
        [sys.executable, RECIPES / "train_kws.py", "--help"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "300"},
    )
    text = (RECIPES / "train_kws.toml").read_text()
    for key in tomllib.loads(text):
        flag = f"--{key.replace('_', '-')}"
        (line,) = (line for line in text.splitlines() if line.startswith(f"{key} ="))
        comment = line.partition("# ")[2] or text.partition(line)[2].partition("]")[0]
        assert flag in result.stdout
        assert comment.split("%")[0] in result.stdout or "[" in line


def test_recipes_are_thin() -> None:
    for path in RECIPES.glob("*.py"):
        assert len(path.read_text().splitlines()) <= 120, path.name
