"""`lcspeech listen`: from a pipe, and live on a virtual microphone."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from lcspeech import Command, Event, PreRoll, Spotter
from lcspeech.cli import main
from lcspeech.cli._clips import Clips
from tests.cli.conftest import MODEL, RATE, Recording, fake_sounddevice
from tests.cli.process import TIMEOUT, lcspeech, run, start
from tests.pulse import VirtualMicrophone

LATENCY_SECONDS = 0.5  # from a word's end to its event


def listen_to_pipe(samples: NDArray[np.int16], *arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        lcspeech("listen", "-", *arguments), input=samples.tobytes(), capture_output=True, timeout=TIMEOUT, check=False
    )


def events_of(output: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.splitlines()]


def assert_same(found: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    assert [event["keyword"] for event in found] == [event["keyword"] for event in expected]
    for event, other in zip(found, expected, strict=True):
        for field in ("start", "end", "score"):
            assert event[field] == pytest.approx(other[field], abs=2e-3)


def test_a_pipe_gives_the_events_of_the_file(recording: Recording, expected: list[dict[str, Any]]) -> None:
    result = listen_to_pipe(recording.samples, "--json")
    assert result.returncode == 0
    assert_same(events_of(result.stdout), expected)
    assert result.stderr.decode().startswith("lcspeech: standard input, 16000 Hz, waiting for yes, no, ")
    assert result.stderr.count(b"\n") == 1


def test_text_is_a_line_for_each_event(recording: Recording, expected: list[dict[str, Any]]) -> None:
    lines = listen_to_pipe(recording.samples).stdout.decode().splitlines()
    rows = [line.split() for line in lines]
    assert [row[1] for row in rows] == [event["keyword"] for event in expected]
    assert [float(row[0]) for row in rows] == pytest.approx([e["start"] for e in expected], abs=0.0101)
    assert [float(row[2]) for row in rows] == pytest.approx([e["score"] for e in expected], abs=0.0101)


def test_rate_and_channels_of_the_pipe(recording: Recording, spotter: Spotter) -> None:
    samples = np.repeat(recording.samples[: 12 * RATE], 3)
    stereo = np.stack([samples, samples], axis=1)
    expected = spotter.spot(stereo, sample_rate=48_000)
    result = listen_to_pipe(stereo, "--rate", "48000", "--channels", "2", "--json")
    assert len(expected) >= 2
    assert [event["keyword"] for event in events_of(result.stdout)] == [event.keyword for event in expected]
    assert b"48000 Hz" in result.stderr


def test_keywords_and_threshold(recording: Recording, expected: list[dict[str, Any]]) -> None:
    word = expected[0]["keyword"]
    found = events_of(listen_to_pipe(recording.samples, "--json", "--keyword", word).stdout)
    assert {event["keyword"] for event in found} == {word}
    assert listen_to_pipe(recording.samples, "--json", "--threshold", "1").stdout == b""


def test_near_misses_are_told_when_asked(recording: Recording, expected: list[dict[str, Any]]) -> None:
    word = expected[0]["keyword"]
    result = listen_to_pipe(recording.samples, "--keyword", f"{word}:1", "--verbose")
    assert result.stdout == b""
    rows = [line.split() for line in result.stderr.decode().splitlines() if "is below its threshold" in line]
    told = [(float(row[0]), float(row[2])) for row in rows if row[1] == word]
    for event in expected:  # whose trigger did not wait for the very peak
        if event["keyword"] == word and event["score"] < 1:
            start, score = event["start"], event["score"]
            assert any(abs(at - start) < 0.1 and score <= highest < score + 0.1 for at, highest in told)
    assert listen_to_pipe(recording.samples, "--keyword", f"{word}:1").stderr.count(b"\n") == 1


def test_exec_gets_the_event_in_its_environment(
    recording: Recording, expected: list[dict[str, Any]], tmp_path: Path
) -> None:
    log = tmp_path / "events"
    command = f'echo "$LCSPEECH_KEYWORD $LCSPEECH_START $LCSPEECH_END $LCSPEECH_SCORE" >> {log}; echo done'
    result = listen_to_pipe(recording.samples, "--json", "--exec", command)
    assert result.returncode == 0
    rows = sorted(log.read_text().splitlines())
    assert rows == sorted(f"{e['keyword']} {e['start']} {e['end']} {e['score']}" for e in events_of(result.stdout))
    assert len(rows) == len(expected)
    assert result.stderr.count(b"done\n") == len(expected)  # standard output is for events alone


def test_a_command_that_fails_is_reported_and_stops_nothing(
    recording: Recording, expected: list[dict[str, Any]]
) -> None:
    result = listen_to_pipe(recording.samples, "--json", "--exec", "exit 3")
    assert result.returncode == 0
    assert len(events_of(result.stdout)) == len(expected)
    assert result.stderr.count(b"lcspeech: warning: the command of --exec ended with exit code 3: exit 3\n") == len(
        expected
    )


def test_an_empty_pipe_is_told() -> None:
    result = run("listen", "-", input="")
    assert (result.returncode, result.stdout) == (0, "")
    assert "lcspeech: warning: there was no audio on standard input" in result.stderr


def chained(expected: list[dict[str, Any]]) -> tuple[str, list[str]]:
    """The first word that is heard as a wake word, and all others as commands."""
    wake = expected[0]["keyword"]
    return wake, sorted({event["keyword"] for event in expected} - {wake})


@pytest.mark.parametrize("wake_model", [[], ["--wake-model", "commands-tiny"]])
def test_a_wake_word_arms_the_commands_for_some_seconds(
    recording: Recording, expected: list[dict[str, Any]], wake_model: list[str]
) -> None:
    wake, then = chained(expected)
    arguments = ["--wake", wake, "--then", ",".join(then), "--within", "8", *wake_model]
    events = events_of(listen_to_pipe(recording.samples, "--json", *arguments).stdout)
    wakes = [event for event in events if event["keyword"] == wake]
    commands = [event for event in events if event["keyword"] != wake]
    assert len(wakes) >= 1
    assert 1 <= len(commands) < len(expected) - len(wakes)
    assert all("wake" not in event for event in wakes)
    for command in commands:
        assert command["wake"] in wakes
        assert command["start"] - command["wake"]["end"] <= 8
    lines = listen_to_pipe(recording.samples, *arguments).stdout.decode().splitlines()
    assert [line.endswith(f"after {wake}") for line in lines] == ["wake" in event for event in events]


def test_words_of_a_chain_are_as_for_keyword(
    recording: Recording, expected: list[dict[str, Any]], tmp_path: Path
) -> None:
    """With a threshold, and from a file."""
    wake, then = chained(expected)
    listening = partial(listen_to_pipe, recording.samples, "--model", MODEL)
    plain = listening("--wake", wake, "--then", ",".join(then))
    file = tmp_path / "wake.json"
    Spotter.load().keyword(wake).save(file)
    commands = ",".join(f"{word}:{Spotter.load().keyword(word).threshold}" for word in then)
    assert listening("--wake", str(file), "--then", commands).stdout == plain.stdout != b""
    assert listening("--wake", f"{wake}:1", "--then", commands).stdout == b""


def test_exec_runs_for_commands_and_knows_their_wake_word(
    recording: Recording, expected: list[dict[str, Any]], tmp_path: Path
) -> None:
    wake, then = chained(expected)
    log = tmp_path / "events"
    command = f'echo "$LCSPEECH_KEYWORD $LCSPEECH_WAKE_KEYWORD $LCSPEECH_WAKE_END" >> {log}'
    arguments = ["--wake", wake, "--then", ",".join(then), "--within", "8", "--json", "--exec", command]
    events = [event for event in events_of(listen_to_pipe(recording.samples, *arguments).stdout) if "wake" in event]
    rows = sorted(log.read_text().splitlines())
    assert rows == sorted(f"{event['keyword']} {wake} {event['wake']['end']}" for event in events)


def test_a_clip_holds_the_sound_from_before_the_wake_word_until_the_event(
    recording: Recording, expected: list[dict[str, Any]], tmp_path: Path
) -> None:
    wake, then = chained(expected)
    arguments = ["--wake", wake, "--then", ",".join(then), "--within", "8", "--save-clips", tmp_path / "a" / "b"]
    result = listen_to_pipe(recording.samples, "--json", "--before", "0.75", *map(str, arguments))
    events = events_of(result.stdout)
    assert {event["clip"] for event in events} == {str(path) for path in (tmp_path / "a" / "b").iterdir()}
    assert any("wake" in event for event in events)
    for event in events:
        clip, rate = soundfile.read(event["clip"], dtype="int16")
        start = round((event.get("wake", event)["start"] - 0.75) * RATE)
        assert rate == RATE
        assert 0 <= len(clip) / RATE - (event["end"] - start / RATE) < 1.5  # until the event was known
        shift = min(range(-20, 21), key=lambda s: np.abs(clip[:RATE] - recording.samples[start + s :][:RATE]).max())
        assert abs(shift) <= 16  # times are printed to a millisecond
        np.testing.assert_array_equal(clip, recording.samples[start + shift :][: len(clip)])


def test_a_disk_that_is_full_stops_no_listening(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(PreRoll, "save", refuse)
    warnings: list[str] = []
    clips = Clips(tmp_path, 0.5, 2.0, RATE, warnings.append)
    clips.feed(np.zeros(RATE, np.float32))
    event = Event("a/b", 0.25, 0.5, 0.9)
    assert clips.save(Command(event, None)) == {}
    (warning,) = warnings
    assert "0000000.25s-a_b.wav' (No space left on device); listening goes on" in warning


def test_clips_that_are_lost_are_a_failure(recording: Recording, tmp_path: Path) -> None:
    folder = tmp_path / "clips"
    events = events_of(listen_to_pipe(recording.samples, "--json", "--save-clips", str(folder)).stdout)
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    process = start("listen", "-", "--json", "--save-clips", folder)
    while not folder.is_dir():
        time.sleep(0.01)
    folder.rmdir()
    folder.write_text("in the way")
    output, errors = process.communicate(recording.samples.tobytes(), timeout=TIMEOUT)
    assert process.returncode == 1
    assert errors.decode().count("cannot save the clip") == len(events) == output.count(b"\n") > 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["-", "--device", "1"], "two devices, '-' and '1'; give one"),
        (["--rate", "48000"], "--rate and --channels are for DEVICE -; a microphone has its own"),
        (["-", "--rate", "9"], "'9' is not a whole number of Hz from 1000 to 768000"),
        (["-", "--channels", "0"], "'0' is not a whole number of channels from 1 to 64"),
        (["-", "--then", "up"], "--then, --within and --wake-model need --wake: the word that comes first"),
        (["-", "--within", "2"], "--then, --within and --wake-model need --wake: the word that comes first"),
        (["-", "--wake", "yes"], "--wake needs --then: the commands that count after it"),
        (["-", "--wake", "yes", "--then", "up,yes"], "'yes' is a wake word and a command; let it be one of them"),
        (["-", "--wake", "yes", "--then", "up,,no"], "'up,,no' is not a list of words; write them like 'up,down'"),
        (["-", "--wake", "yes", "--then", "up", "--within", "0"], "'0' is not a number of seconds above 0"),
        (["-", "--wake", "yes", "--then", "up", "--within", "x"], "'x' is not a number of seconds above 0"),
        (["-", "--wake", "yes", "--then", "up", "--keyword", "no"], "--keyword is for listening without --wake"),
        (["-", "--wake", "yes", "--then", "up", "--wake-model", "x"], f"unknown model 'x'; shipped: {MODEL}"),
        (["-", "--exec", " "], "an empty command for --exec; give one to run"),
        (["-", "--before", "1"], "--before is for --save-clips: how much a clip holds before the word"),
        (["-", "--save-clips", "/dev/null/x"], "cannot save clips in '/dev/null/x' (Not a directory); give another"),
        (["-", "--threshold", "2"], "'2' is not a score; give one from 0 to 1"),
        (["-", "--keyword", "yes=BANANA"], "not a sequence of units: 'BANANA'; the units are: "),
        (["-", "--model", "banana"], f"unknown model 'banana'; shipped: {MODEL}"),
    ],
)
def test_wrong_usage_is_exit_code_2(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["listen", *arguments]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert said in output.err.splitlines()[-1]


def test_a_terminal_is_no_audio() -> None:
    controller, terminal = os.openpty()
    result = subprocess.run(
        lcspeech("listen", "-"), stdin=terminal, capture_output=True, text=True, timeout=TIMEOUT, check=False
    )
    os.close(controller)
    os.close(terminal)
    assert result.returncode == 2
    assert result.stderr == (
        "lcspeech: error: no audio on standard input; pipe raw 16-bit PCM into 'lcspeech listen -'\n"
    )


def test_without_portaudio_the_message_names_the_package(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    assert main(["listen"]) == 1
    error = capsys.readouterr().err
    assert "apt-get install libportaudio2" in error
    assert error.count("\n") == 1


def test_a_microphone_that_refuses_every_rate_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fake_sounddevice(monkeypatch, {"name": "Busy", "max_input_channels": 1, "default_samplerate": 44_100.0}, default=0)
    sounddevice = sys.modules["sounddevice"]

    def refuse(**_: object) -> None:
        raise ValueError("Invalid sample rate")

    monkeypatch.setattr(sounddevice, "InputStream", refuse, raising=False)
    monkeypatch.setattr(sounddevice, "PortAudioError", OSError, raising=False)
    assert main(["listen"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("lcspeech: error: 'Busy' cannot be opened at 44100, 48000, 16000, ")
    assert error.count("\n") == 1


@pytest.fixture
def listening() -> Iterator[Any]:
    """A process that waits on its standard input."""
    with start("listen", "-", "--json") as process:
        assert b"waiting for" in process.stderr.readline()
        yield process
        process.kill()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_listening_quietly(listening: Any, number: signal.Signals) -> None:
    listening.send_signal(number)
    assert listening.wait(TIMEOUT) == 0
    assert listening.stdout.read() == b""
    assert listening.stderr.read() in {b"", b"lcspeech: warning: there was no audio on standard input\n"}


def test_events_come_while_the_pipe_is_open(
    listening: Any, recording: Recording, expected: list[dict[str, Any]]
) -> None:
    end = round((expected[0]["end"] + 0.6) * RATE)
    listening.stdin.write(recording.samples[:end].tobytes())
    listening.stdin.flush()
    assert json.loads(listening.stdout.readline())["keyword"] == expected[0]["keyword"]
    assert listening.poll() is None


def test_a_reader_that_leaves_ends_listening(listening: Any, recording: Recording) -> None:
    listening.stdout.close()
    with contextlib.suppress(BrokenPipeError):
        listening.stdin.write(recording.samples.tobytes())
    with contextlib.suppress(BrokenPipeError):
        listening.stdin.close()
    assert listening.wait(TIMEOUT) == 0
    assert listening.stderr.read() == b""


@pytest.mark.parametrize(
    ("speed", "samples", "said"),
    [
        (3.0, np.full(RATE, 1_000, np.int16), r"\d{5} samples come in a second, not 16000; give their --rate and"),
        (3.0, np.full(RATE, 32_767, np.int16), "standard input: the input is overdriven, 100 % of its samples are"),
        (100.0, np.zeros(RATE, np.int16), "^$"),  # a file, which may be silent
    ],
)
def test_what_is_wrong_with_a_live_pipe_is_told(
    listening: Any, speed: float, samples: NDArray[np.int16], said: str
) -> None:
    for _ in range(12):
        listening.stdin.write(samples.tobytes())
        listening.stdin.flush()
        time.sleep(1 / speed)
    listening.stdin.close()
    assert listening.wait(TIMEOUT) == 0
    assert re.search(said, listening.stderr.read().decode())


class Timed(threading.Thread):
    """Reads a pipe, and remembers when each piece came."""

    def __init__(self, read: Any) -> None:
        super().__init__(daemon=True)
        self.read, self.pieces = read, list[tuple[float, bytes]]()
        self.start()

    def run(self) -> None:
        while piece := self.read():
            self.pieces.append((time.monotonic(), piece))


SURE, FAINT = (
    0.85,
    0.4,
)  # scores: on its way through sound servers and their resamplers, a sure word stays above the other


def part(recording: Recording, words: list[dict[str, Any]]) -> NDArray[np.float32]:
    """The words and a second around them."""
    first, last = round((words[0]["start"] - 1.0) * RATE), round((words[-1]["end"] + 1.0) * RATE)
    return recording.samples[first:last]


def sure_words(recording: Recording, spotter: Spotter) -> list[dict[str, Any]]:
    """Of three words in a row those that are most surely heard, they and nothing else, when only they are played."""
    runs = []
    for i in range(len(recording.truth) - 2):
        words = recording.truth[i : i + 3]
        sound = np.pad(part(recording, words), 2 * RATE)  # silence around, as there
        events = spotter.replace(threshold=FAINT).spot(sound, sample_rate=RATE)
        heard = [e.keyword for e in events] == [w["keyword"] for w in words]
        runs.append((min(e.score for e in events) if heard else 0.0, i))
    surest, first = max(runs)
    assert surest > SURE
    return recording.truth[first : first + 3]


@pytest.mark.audio_device
def test_live_events_come_within_half_a_second(
    virtual_microphone: VirtualMicrophone,
    recording: Recording,
    spotter: Spotter,
    tmp_path: Path,
) -> None:
    words = sure_words(recording, spotter)
    played = part(recording, words)
    path = tmp_path / "words.wav"
    soundfile.write(path, played, RATE)
    # A second listener on the same source tells when each sample was there to be heard: when the sound began is unknown
    parec = [
        "parec",
        "--device=speaker.monitor",
        "--format=s16le",
        f"--rate={RATE}",
        "--channels=1",
        "--latency-msec=20",
    ]
    with (
        start("listen", "--json", "--threshold", str(FAINT), env=virtual_microphone.env) as process,
        subprocess.Popen(parec, env=virtual_microphone.env, stdout=subprocess.PIPE) as witness,
    ):
        line = process.stderr.readline().decode()
        assert "waiting for yes, no, " in line
        assert "Hz" in line
        assert witness.stdout is not None
        sound, lines = Timed(partial(witness.stdout.read1, 640)), Timed(process.stdout.readline)
        assert virtual_microphone.play(path).wait(TIMEOUT) == 0
        time.sleep(1.0)
        process.send_signal(signal.SIGINT)
        assert process.wait(TIMEOUT) == 0
        assert process.stderr.read() == b""
        witness.kill()
        lines.join()
        sound.join()
    events = [(at, json.loads(piece)) for at, piece in lines.pieces]
    assert [event["keyword"] for _, event in events] == [word["keyword"] for word in words]
    heard = np.frombuffer(b"".join(piece for _, piece in sound.pieces), np.int16).astype(float)
    length = len(heard) + len(played)
    match = np.fft.irfft(np.fft.rfft(heard, length) * np.conj(np.fft.rfft(played.astype(float), length)), length)
    offset = int(match[: len(heard)].argmax())
    arrivals = np.cumsum([len(piece) // 2 for _, piece in sound.pieces])
    late = []
    for (at, _), word in zip(events, words, strict=True):
        end = offset + round((word["end"] - words[0]["start"] + 1.0) * RATE)
        late.append(at - sound.pieces[int(np.searchsorted(arrivals, end, side="right"))][0])
    assert np.median(late) <= LATENCY_SECONDS, late


@pytest.mark.audio_device
def test_events_go_on_after_the_microphone_was_unplugged(
    virtual_microphone: VirtualMicrophone, recording: Recording, spotter: Spotter, tmp_path: Path
) -> None:
    words = sure_words(recording, spotter)
    path = tmp_path / "words.wav"
    start_of, end_of = round((words[0]["start"] - 1.0) * RATE), round((words[-1]["end"] + 1.5) * RATE)
    soundfile.write(path, recording.samples[start_of:end_of], RATE)
    names = {word["keyword"] for word in words}
    with start("listen", "--json", "--threshold", str(FAINT), env=virtual_microphone.env) as process:
        assert b"waiting for" in process.stderr.readline()
        assert virtual_microphone.play(path).wait(TIMEOUT) == 0
        before = json.loads(process.stdout.readline())
        virtual_microphone.unplug()
        while b"is it unplugged? It is waited for" not in (line := process.stderr.readline()):
            assert line
        virtual_microphone.plug_in()
        while b"is back" not in (line := process.stderr.readline()):
            assert line
        assert virtual_microphone.play(path).wait(TIMEOUT) == 0
        time.sleep(1.0)
        process.send_signal(signal.SIGINT)
        assert process.wait(TIMEOUT) == 0
        events = events_of(process.stdout.read())
    assert before["keyword"] in names
    after = [event for event in events if event["start"] > before["start"] + len(words) + 2.0]
    assert names <= {event["keyword"] for event in after}


@pytest.mark.audio_device
def test_a_signal_ends_the_waiting_for_a_microphone(virtual_microphone: VirtualMicrophone) -> None:
    with start("listen", env=virtual_microphone.env) as process:
        assert b"waiting for" in process.stderr.readline()
        virtual_microphone.unplug()
        while b"It is waited for" not in (line := process.stderr.readline()):
            assert line
        process.send_signal(signal.SIGTERM)
        assert process.wait(TIMEOUT) == 0


@pytest.mark.audio_device
def test_a_reader_that_leaves_ends_live_listening(virtual_microphone: VirtualMicrophone, recording: Recording) -> None:
    with start("listen", env=virtual_microphone.env) as process:
        assert b"waiting for" in process.stderr.readline()
        process.stdout.close()
        with virtual_microphone.play(recording.path) as player:
            assert process.wait(TIMEOUT) == 0  # at the first event
            player.kill()
        assert process.stderr.read() == b""
