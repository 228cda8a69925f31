"""The figures of speed: that they are measured, and of what, not how large they are."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from lcspeech import Spotter, UnknownModelError, pretrained
from lcspeech.encoder import EncoderStream
from lcspeech.evaluation import speed
from lcspeech.evaluation.peers import Feed, Peer
from lcspeech.evaluation.speed import bench, measure_model, side_by_side

SPEECH = np.random.default_rng(0).normal(0, 0.05, 4 * 16_000).astype(np.float32)


def fake_clock(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every process takes what is said here, all other work 0.02 s; returns the programs that were run."""
    programs: list[str] = []

    def process(program: str) -> tuple[float, float]:
        programs.append(program)
        return {"pass": 0.5, "import lcspeech": 0.53}.get(program, 0.75), 60.0

    def cpu(work: speed.Work) -> float:
        work()
        return 0.02

    monkeypatch.setattr(speed, "_process", process)
    monkeypatch.setattr(speed, "_cpu_seconds", cpu)
    return programs


def test_the_figures_follow_from_the_times(monkeypatch: pytest.MonkeyPatch) -> None:
    programs = fake_clock(monkeypatch)
    figures = measure_model("commands-tiny", SPEECH, file_seconds=8.0)
    assert figures.import_ms == pytest.approx(30)
    assert figures.spot_one_second_clip_s == pytest.approx(0.75)  # with the interpreter
    assert figures.peak_memory_mb == 60.0
    assert figures.spot_file_times_real_time == pytest.approx(400)
    assert figures.live_percent_of_a_core == {"16000 Hz": pytest.approx(0.5), "48000 Hz": pytest.approx(0.5)}
    assert [cost.block_seconds for cost in figures.live] == [0.04, 0.08, 0.16]
    for cost in figures.live:
        assert [cost.front_end, cost.encoder, cost.search, cost.total] == pytest.approx([0.5] * 4)
    assert figures.twenty_keywords > 0
    assert figures.twenty_learned is None
    assert 0 < figures.step_median_ms <= figures.step_p99_ms
    assert figures.file_bytes == len(pretrained.load("commands-tiny"))
    assert figures.parameters == Spotter.load("commands-tiny").card.parameters
    assert any("clip.wav" in program and "'commands-tiny'" in program for program in programs)
    json.dumps(dataclasses.asdict(figures))


def test_words_with_heads_cost_something(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_clock(monkeypatch)
    words = speed.learned_words(Spotter.load("open"))
    assert len(words) == 20
    assert all(word.head for word in words)
    assert (measure_model("open", SPEECH, file_seconds=8.0).twenty_learned or 0) > 0


def test_the_stages_hear_all_of_the_audio(monkeypatch: pytest.MonkeyPatch) -> None:
    heard = {"front_end": 0, "encoder": 0, "search": 0}
    spotter = Spotter.load()

    def process(self: speed.LogMelStream, samples: NDArray[np.float32], *steps: int) -> NDArray[np.float32]:
        heard["front_end"] += len(samples)
        return log_mel(self, samples, *steps)

    def encode(self: EncoderStream, frames: NDArray[np.float32]) -> NDArray[np.float32]:
        heard["encoder"] += len(frames)
        log_probs = encoder(self, frames)
        heard["search"] += len(log_probs)
        return log_probs

    log_mel, encoder = speed.LogMelStream.process, EncoderStream.process
    monkeypatch.setattr(speed, "_cpu_seconds", lambda work: (work(), 1.0)[1])
    monkeypatch.setattr(speed, "_listening", lambda *_: lambda: None)
    monkeypatch.setattr(speed.LogMelStream, "process", process)
    monkeypatch.setattr(EncoderStream, "process", encode)
    speed._live_cost(spotter, SPEECH, 0.08)
    assert heard["front_end"] == len(SPEECH)
    assert 0 <= (len(SPEECH) - 400) // 160 + 1 - heard["encoder"] < spotter.step
    assert heard["search"] == heard["encoder"] / spotter.card.time_stride


def test_a_peer_hears_the_same_audio_in_16_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "_once", lambda work: (work(), 0.005 * len(SPEECH) / speed.SPEECH_RATE)[1])
    heard: list[NDArray[np.int16]] = []
    ours, other = side_by_side([Spotter.load("commands-tiny")], [Peer("numpy", "word", lambda: heard.append)], SPEECH)
    assert other.percent_of_a_core == ours.percent_of_a_core == pytest.approx(0.5)
    assert (other.package, other.version, other.keyword) == ("numpy", np.__version__, "word")
    assert (ours.package, ours.keyword) == ("lcspeech", "all 22 of commands-tiny")
    assert {block.dtype for block in heard} == {np.dtype(np.int16)}
    once = np.concatenate(heard[: len(heard) // (1 + speed.REPEATS)]) / 32_767
    np.testing.assert_allclose(once, SPEECH, atol=2e-5)


def test_packages_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []

    def peer(name: str) -> Peer:
        return Peer("numpy", name, lambda: lambda _: order.append(name))

    monkeypatch.setattr(speed, "REPEATS", 3)
    side_by_side([], [peer("a"), peer("b")], SPEECH[: round(0.08 * speed.SPEECH_RATE)])
    assert order == ["a", "b"] * 4  # the first time to see whether it works


def test_a_peer_that_fails_is_told_and_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> Feed:
        raise RuntimeError("needs an access key\nand more")

    monkeypatch.setattr(speed, "measure_model", lambda *_: "figures")
    monkeypatch.setattr(speed, "REPEATS", 1)
    peers = [Peer("numpy", "word", fail), Peer("numpy", "other", lambda: lambda _: None)]
    figures = bench(["commands-tiny"], SPEECH, peers)
    assert figures.models == ("figures",)
    ours, failed, works = figures.peers
    assert failed.percent_of_a_core is None
    assert failed.error == "RuntimeError: needs an access key"
    assert 0 < works.percent_of_a_core < ours.percent_of_a_core
    assert "one core, onnxruntime" in figures.machine
    assert bench(["commands-tiny"], SPEECH, []).peers == ()


def test_times_are_medians(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0, 1, 10, 19, 20, 22, 30, 33, 40, 42.5])
    monkeypatch.setattr(speed.time, "process_time", lambda: next(clock))
    assert speed._cpu_seconds(lambda: None) == 2.5


def test_a_process_takes_time_and_memory_and_must_succeed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "REPEATS", 1)
    seconds, memory = speed._process("pass")
    assert 0 < seconds < 60
    if Path("/proc/self/status").exists():
        assert memory is not None
        _, larger = speed._process("b'x' * 100_000_000")
        assert larger is not None
        assert 95 < larger - memory < 110  # MB
    with pytest.raises(speed.subprocess.CalledProcessError):
        speed._process("raise SystemExit(1)")


def test_where_the_system_does_not_tell_memory_is_not_known(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(speed, "REPEATS", 1)
    monkeypatch.setattr(speed, "_STATUS", tmp_path / "none")
    assert speed._process(f"assert {os.getpid()}")[1] is None


def test_an_unknown_model_is_refused_before_anything_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "measure_model", lambda *_: pytest.fail("measured"))
    with pytest.raises(UnknownModelError):
        bench(["commands-tiny", "banana"], SPEECH, ())


def test_open_words_are_different_and_searched_as_typed_ones() -> None:
    spotter = Spotter.load()
    words = speed.open_words(spotter)
    assert len({word.sequences for word in words}) == len({word.name for word in words}) == speed.KEYWORDS == 20
    searched = spotter.replace(keywords=words).search.initial_state()
    assert {name.partition("_")[0] for name in searched if "_" in name} == {"open"}
