"""The demos run on their bundled recording and do what they say. The program's part is judged, not the model's."""

from __future__ import annotations

import contextlib
import importlib
import json
import re
import runpy
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import soundfile

import lcspeech
from tests.portaudio import FakeStream

ROOT = Path(__file__).parents[1]
DEMOS = ROOT / "demos"
EVENT = lcspeech.Event("up", 1.0, 1.5, 0.9)


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Import a demo, as a script that lies beside its helpers does."""
    monkeypatch.syspath_prepend(DEMOS)
    return importlib.import_module


def run(demo: str, *arguments: object, folder: Path = ROOT) -> list[str]:
    """What a demo prints; it must succeed and say nothing on standard error."""
    result = subprocess.run(
        [sys.executable, str(DEMOS / f"{demo}.py"), *map(str, arguments)],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (result.returncode, result.stderr) == (0, "")
    return result.stdout.splitlines()


def test_the_smart_speaker_obeys_after_its_wake_word() -> None:
    lines = [line.split(maxsplit=3) for line in run("smart_speaker", "--recording")]
    words = [(word, float(second)) for second, _, word, said in lines if "ignored" not in said]
    wakes = [second for word, second in words if word == "zero"]
    assert len(wakes) >= 1
    assert lines[0][2] == "zero"  # the first "up" was said to nobody
    assert "volume 6" in [line[3] for line in lines]
    for word, second in words:
        if word in {"up", "down", "right"}:
            assert any(0 < second - wake < 4 for wake in wakes)
    if "right" in dict(words):
        assert lines[-1][3].endswith(("ignored", "silence"))


@pytest.mark.parametrize("demo", ["smart_speaker", "car_assistant", "webhook"])
def test_a_word_at_the_very_end_is_heard(demo: str, tmp_path: Path) -> None:
    """As it is where someone speaks: a recording ends with its word, a room goes on."""
    samples, rate = soundfile.read(DEMOS / "audio" / "commands.flac", dtype="float32")
    truth = json.loads((DEMOS / "audio" / "commands.json").read_text())["events"]
    end = next(event["end"] for event in truth if event.get("keyword") == "zero")
    soundfile.write(tmp_path / "zero.wav", samples[: round((end + 0.02) * rate)], rate)
    assert "zero" in " ".join(run(demo, "--recording", tmp_path / "zero.wav", folder=tmp_path))


@pytest.mark.parametrize("demo", ["smart_speaker", "webhook"])
def test_an_interrupt_ends_a_recording_quietly(demo: str, tmp_path: Path) -> None:
    samples, rate = soundfile.read(DEMOS / "audio" / "commands.flac", dtype="float32")
    soundfile.write(tmp_path / "long.flac", np.tile(samples, 60), rate)
    command = [sys.executable, str(DEMOS / f"{demo}.py"), "--recording", str(tmp_path / "long.flac")]
    environment = {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()  # it listens
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, "")
    assert max(map(float, re.findall(r"^ *([\d.]+) s", output, re.MULTILINE)), default=0.0) < 50 * len(samples) / rate


def own_playback(module: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    monkeypatch.setattr(sys, "argv", ["smart_speaker.py", "--recording", str(module.silence)])
    module.main()
    return capsys.readouterr().out


def test_the_smart_speaker_does_not_wake_on_its_own_playback(
    load: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """A minute in which nobody speaks but the loudspeaker."""
    speaker = load("smart_speaker")
    speaker.silence = tmp_path / "room.wav"
    soundfile.write(speaker.silence, 1e-4 * np.random.default_rng(0).standard_normal(60 * 16_000), 16_000)

    class Playing(speaker.Player):  # type: ignore[name-defined, misc]
        def __init__(self, rate: int) -> None:
            super().__init__(rate)
            self.playing = True

    monkeypatch.setattr(speaker, "Player", Playing)
    guarded = own_playback(speaker, monkeypatch, capsys)
    assert guarded.count("own playback, ignored") >= 3
    assert "yes?" not in guarded
    monkeypatch.setattr(speaker, "GUARD_SECONDS", -1.0)
    assert "yes?" in own_playback(speaker, monkeypatch, capsys)


def test_the_car_assistant_logs_commands_with_their_wake_word(tmp_path: Path) -> None:
    lines = run("car_assistant", "--recording", folder=tmp_path)
    assert lines[-1] == "events are in car_events.jsonl"
    log = [json.loads(line) for line in (tmp_path / "car_events.jsonl").read_text().splitlines()]
    assert len(log) >= 1
    for command in log:
        assert command["wake"]["keyword"] == "zero"
        assert 0 < command["event"]["start"] - command["wake"]["end"] <= 5.0
        assert any(line.split()[2] == command["event"]["keyword"] for line in lines[:-1])


@pytest.mark.parametrize("snr_db", [0.0, 5.0])
def test_the_road_is_as_loud_as_asked(load: Any, snr_db: float) -> None:
    road = load("car_assistant").Road(snr_db, 16_000)
    noise = np.concatenate([road.add(np.zeros(640, np.float32)) for _ in range(250)])
    assert 20 * np.log10(0.1 / np.sqrt(np.mean(noise**2))) == pytest.approx(snr_db, abs=0.01)
    power = np.abs(np.fft.rfft(noise)) ** 2  # of 10 s
    assert power[:5_000].sum() > 0.9 * power.sum()  # rumble below 500 Hz


def test_two_rooms_hear_what_each_would_alone() -> None:
    lines = [line.split() for line in run("two_rooms")]
    spotter = lcspeech.Spotter.load()
    for room, recording in (("kitchen", "dialogue"), ("bedroom", "commands")):
        expected = [f"{event.start:.2f}" for event in spotter.spot(DEMOS / "audio" / f"{recording}.flac")]
        assert len(expected) >= 3
        assert [line[0] for line in lines if line[2:3] == [room]] == expected
        assert [room, "has", "ended"] in lines


def test_the_webhook_demo_sends_all_events() -> None:
    lines = run("webhook", "--recording")
    received = [json.loads(line.removeprefix("received ")) for line in lines if line.startswith("received ")]
    spotter = lcspeech.Spotter.load()
    words = [event.keyword for event in spotter.spot(DEMOS / "audio" / "dialogue.flac")]
    assert [event["keyword"] for event in received] == words[: len(received)]
    assert len(received) >= len(words) - 1  # the last may come only at the recording's end
    assert sum("Error 503" in line for line in lines) == 1
    assert lines[-1] == f"{len(received)} sent, 0 lost"


@pytest.fixture
def server() -> Iterator[HTTPServer]:
    """A server whose `answers` are given in turn, the last for ever; what it got is in `got`."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            answers = self.server.answers  # type: ignore[attr-defined]
            code = answers.pop(0) if len(answers) > 1 else answers[0]
            self.server.got.append((code, json.loads(body)["keyword"]))  # type: ignore[attr-defined]
            self.send_response(code)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        server.answers, server.got = [200], []  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_the_webhook_tries_again_in_order(load: Any, server: Any) -> None:
    server.answers = [503, 500, 200]
    webhook = load("webhook").Webhook(f"http://127.0.0.1:{server.server_port}/", pause=0.01)
    for keyword in ("up", "down"):
        webhook.send(lcspeech.Event(keyword, 1.0, 1.5, 0.9))
    webhook.close()
    assert server.got == [(503, "up"), (500, "up"), (200, "up"), (200, "down")]
    assert (webhook.sent, webhook.lost) == (2, 0)


def test_the_webhook_gives_up_after_some_tries_and_goes_on(load: Any, server: Any) -> None:
    module = load("webhook")
    server.answers = [500] * module.TRIES + [200]
    webhook = module.Webhook(f"http://127.0.0.1:{server.server_port}/", pause=0.001)
    webhook.send(EVENT)
    webhook.send(EVENT)
    webhook.close()
    assert (webhook.sent, webhook.lost) == (1, 1)


@pytest.mark.parametrize("url", ["http://local host/x", "http://[::1", "http://127.0.0.1:{}/nonsense"])
def test_the_webhook_bears_answers_that_are_none(load: Any, url: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            with contextlib.suppress(OSError):  # of a server that is closed
                while True:
                    peer, _ = server.accept()
                    with peer:
                        peer.recv(4_096)
                        peer.sendall(b"hello there\r\n\r\n")

        threading.Thread(target=answer, daemon=True).start()
        webhook = load("webhook").Webhook(url.format(server.getsockname()[1]), pause=0.001)
        webhook.send(EVENT)
        webhook.send(EVENT)
        webhook.close()
    assert (webhook.sent, webhook.lost) == (0, 2)


def test_the_webhook_never_blocks_and_its_memory_is_bounded(load: Any) -> None:
    module = load("webhook")
    webhook = module.Webhook("http://127.0.0.1:9/", pause=0.001, waiting=5)  # nobody listens there
    began = time.monotonic()
    for _ in range(2_000):
        webhook.send(EVENT)
    assert time.monotonic() - began < 2
    assert webhook._queue.qsize() <= 5
    webhook.close()
    assert webhook.sent == 0
    assert webhook.lost >= 1_999  # the end may take the place of the last one


def test_a_demo_takes_the_microphone_if_there_is_one(
    load: Any, portaudio: type[FakeStream], capsys: pytest.CaptureFixture[str]
) -> None:
    hearing = load("hearing")
    with hearing.hear("headset", None) as source:
        portaudio.opened[0].deliver(np.full((1_764, 1), 0.25))
        assert (source.live, source.sample_rate) == (True, 44_100)
        assert next(iter(source.blocks))[0] == 0.25
        raise KeyboardInterrupt  # which ends it quietly
    assert capsys.readouterr().out == "listening to 'USB headset'; Ctrl-C ends\n"
    assert portaudio.opened[0].closed
    with pytest.raises(SystemExit, match="unknown device 'banana'"), hearing.hear("banana", None):
        pass
    with pytest.raises(SystemExit, match=r"cannot open 'banana\.wav'"), hearing.hear(None, Path("banana.wav")):
        pass


@pytest.mark.parametrize(
    ("demo", "arguments", "said"),
    [
        ("webhook", ("--url", "banana"), "--url banana: an address begins with http:// or https://"),
        ("car_assistant", ("--log", "nowhere/log.jsonl"), "--log nowhere/log.jsonl: No such file or directory"),
        ("car_assistant", ("--snr-db", "much"), "argument --snr-db: invalid float value: 'much'"),
        ("two_rooms", ("--kitchen", "banana"), "unknown device 'banana'"),
        ("smart_speaker", ("--recording", "pyproject.toml"), "cannot read 'pyproject.toml'"),
    ],
)
def test_what_is_wrong_is_one_line(
    load: Any,
    monkeypatch: pytest.MonkeyPatch,
    portaudio: type[FakeStream],
    capsys: pytest.CaptureFixture[str],
    demo: str,
    arguments: tuple[str, ...],
    said: str,
) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "argv", [f"{demo}.py", *arguments])
    with pytest.raises(SystemExit) as stopped:
        load(demo).main()
    assert said in (str(stopped.value) + capsys.readouterr().err).splitlines()[-1]
    assert not portaudio.opened


def test_a_demo_says_so_when_there_is_no_microphone(
    load: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    hearing = load("hearing")
    with hearing.hear(None, None) as source:
        assert not source.live
        silence = round(hearing.SILENCE_SECONDS * hearing.RATE)
        assert sum(map(len, source.blocks)) == soundfile.info(hearing.DIALOGUE).frames + silence
    assert "dialogue.flac is heard instead" in capsys.readouterr().out


def test_every_demo_has_its_picture_and_its_place_in_the_readme() -> None:
    readme = (DEMOS / "README.md").read_text()
    helpers = {"hearing", "receiver"}
    names = {path.stem for path in DEMOS.glob("*.py")}
    assert helpers < names
    for name in names - helpers:
        assert f"python demos/{name}.py" in readme
        assert f"![terminal of {name}.py](pictures/{name}.svg)" in readme
        picture = (DEMOS / "pictures" / f"{name}.svg").read_text()
        assert f"python&#160;demos/{name}.py" in picture
        assert "http" not in re.sub(r'xmlns="[^"]*"|<!--.*?-->', "", picture).partition("<g")[0]  # it loads nothing


def test_a_picture_is_drawn_from_what_is_printed(tmp_path: Path) -> None:
    recipe = runpy.run_path(str(ROOT / "recipes" / "demo_pictures.py"))
    assert recipe["main"](["car_assistant", "--output", str(tmp_path)]) == 0
    picture = (tmp_path / "car_assistant.svg").read_text()
    assert "listening" in picture
    assert recipe["main"](["banana"]) == 2


@pytest.mark.parametrize("name", ["dialogue", "commands"])
def test_bundled_recordings_are_small_and_their_truth_is_beside_them(name: str) -> None:
    truth = json.loads((DEMOS / "audio" / f"{name}.json").read_text())
    assert truth["audio"] == f"{name}.flac"
    assert f"`{name}.flac`" in (DEMOS / "audio" / "README.md").read_text()
    assert (DEMOS / "audio" / "dialogue.flac").stat().st_size < 300_000
