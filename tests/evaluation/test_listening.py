"""Long streams as the spotter hears them: what is counted is what the public interface would have given."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from lcspeech import Spotter
from lcspeech.evaluation.detection import THRESHOLDS, Label, match
from lcspeech.evaluation.listening import ListeningTask, RecordingPlan, hear, heard_between
from lcspeech.evaluation.metrics import Rate
from lcspeech.evaluation.parallel import run_tasks
from lcspeech.evaluation.streams import LONG, Kind, StreamPlan, plan_streams, render
from lcspeech.evaluation.summary import all_curves, by_snr, summarise
from tests.evaluation.corpus import DEMO, RATE, demo_words, noise


@pytest.fixture(scope="module")
def spotter() -> Spotter:
    return Spotter.load()


@pytest.fixture(scope="module")
def plans(spotter: Spotter, tmp_path_factory: pytest.TempPathFactory) -> list[StreamPlan]:
    """The demo's words at two ratios; those that are no keywords are the speech."""
    folder = tmp_path_factory.mktemp("words")
    names = {keyword.name for keyword in spotter.keywords}
    clips, others = [], []
    for i, (word, samples) in enumerate(demo_words()):
        path = folder / f"{i}.wav"
        soundfile.write(path, samples, RATE, subtype="FLOAT")
        (clips if word in names else others).append((word, path))
    hiss = [noise(folder / "hiss.wav", 3.0)]
    return plan_streams(clips, [path for _, path in others], hiss, 0.01, [40.0, 0.0], LONG, seed=1)


def test_the_counts_are_those_of_the_public_interface(spotter: Spotter, plans: list[StreamPlan]) -> None:
    pieces = list(render(plans[0], RATE))
    samples = np.concatenate([piece.samples for piece in pieces])
    result = hear(spotter, ListeningTask(plans[0], 0.5))
    labels = [piece.label for piece in pieces if piece.label is not None]
    assert list(result.labels) == labels
    for row in (0, 8, 16, 24, 30, len(THRESHOLDS) - 1):
        events = spotter.replace(threshold=THRESHOLDS[row]).spot(samples, sample_rate=RATE)
        answers = match(labels, events, 0.5)
        for column, keyword in enumerate(spotter.keywords):
            own = [answer for answer, event in zip(answers, events, strict=True) if event.keyword == keyword.name]
            assert result.found[row, column] == sum(answer is not None for answer in own)
            assert result.false[row, column] == sum(answer is None for answer in own)
    live = spotter.spot(samples, sample_rate=RATE)
    answers = match(labels, live, 0.5)
    assert len(result.latencies) == sum(answer is not None for answer in answers) > 10
    assert [alarm.event.keyword for alarm in result.alarms] == [
        event.keyword for event, answer in zip(live, answers, strict=True) if answer is None
    ]
    missed = set(range(len(labels))) - set(answers)
    assert [miss.label for miss in result.misses] == [labels[i] for i in sorted(missed)]
    assert all(miss.score < 1 for miss in result.misses)


def test_seconds_and_kinds(spotter: Spotter, plans: list[StreamPlan]) -> None:
    result = hear(spotter, ListeningTask(plans[0], 0.5))
    for kind in Kind:
        expected = sum(len(piece.samples) for piece in render(plans[0], RATE) if piece.kind is kind) / RATE
        assert result.seconds[kind] == pytest.approx(expected)
    assert result.seconds[Kind.SPEECH] > 0


def test_an_event_comes_after_its_word(spotter: Spotter, plans: list[StreamPlan]) -> None:
    result = hear(spotter, ListeningTask(plans[0], 0.5))
    assert -0.2 < np.median(result.latencies) < 0.6  # the noise around a word of the demo counts as its end
    assert max(result.latencies) < 1.0


def test_a_recording_with_labels(spotter: Spotter) -> None:
    events = json.loads(DEMO.with_suffix(".json").read_text())["events"]
    labels = tuple(Label(e["keyword"], e["start"], e["end"]) for e in events if "keyword" in e)
    result = hear(spotter, ListeningTask(RecordingPlan(DEMO, labels, 60.0), 0.5))
    answers = match(labels, spotter.spot(DEMO), 0.5)
    assert len(result.misses) == len(labels) - sum(answer is not None for answer in answers)
    assert len(result.alarms) == answers.count(None)
    assert result.seconds == {None: pytest.approx(soundfile.info(DEMO).duration)}


def test_what_is_heard_between_two_times() -> None:
    whole, _ = soundfile.read(DEMO, dtype="float32")
    plan = RecordingPlan(DEMO, (), 60.0)
    assert np.array_equal(heard_between(plan, RATE, 3.5, 5.25), whole[56_000:84_000])
    assert np.array_equal(heard_between(plan, RATE, -1.0, 0.1), whole[:1_600])


def test_any_number_of_workers_gives_the_same(plans: list[StreamPlan]) -> None:
    tasks = [ListeningTask(plan, 0.5) for plan in plans]
    options, done = Spotter.load().replace(keywords=["yes", "no", "zero"]), []
    alone, together = (run_tasks(hear, tasks, options, workers, done.append) for workers in (1, 2))
    assert len(done) == 2 * len(tasks)
    names = list(options.keywords or ())
    assert summarise(alone, names).to_json() == summarise(together, names).to_json()
    for one, other in zip(alone, together, strict=True):
        assert np.array_equal(one.found, other.found)
        assert one.latencies == other.latencies
        assert one.misses == other.misses


def test_the_summary_adds_up(spotter: Spotter, plans: list[StreamPlan]) -> None:
    results = [hear(spotter, ListeningTask(plan, 0.5)) for plan in plans]
    names = [keyword.name for keyword in spotter.keywords]
    whole, grid = summarise(results, names), by_snr(plans, results, names)
    assert list(grid) == ["40", "0"]
    assert whole.hours == pytest.approx(sum(one.hours for one in grid.values()))
    assert whole.all.clips == 44
    assert whole.keywords["yes"].clips == 4
    assert "marvin" not in whole.keywords  # nobody said it
    assert whole.operating[0].count == sum(one.operating[0].count for one in grid.values()) == len(whole.misses)
    for row, point in enumerate(whole.all.points):
        assert point.misses.count == sum(curve.points[row].misses.count for curve in whole.keywords.values())
        assert point.alarms.events == sum(int(result.false[row].sum()) for result in results)
    assert list(all_curves(whole, grid))[-3:] == ["all together", "all at 40 dB", "all at 0 dB"]
    assert [miss.score for miss in whole.misses] == sorted(miss.score for miss in whole.misses)
    content = json.loads(json.dumps(whole.to_json(), allow_nan=False))
    assert set(content["keywords"]["yes"]["at"]) == {"0.1", "0.5", "1.0", "4.0"}
    assert content["latency"]["median"] <= content["latency"]["p95"]
    deaf = dataclasses.replace(whole, latencies=())
    assert deaf.to_json()["latency"] == {"median": None, "p95": None}
    silent = dataclasses.replace(whole, by_kind={Kind.SPEECH: Rate(0, 0.0)})  # a stream too short for any speech
    nothing = {"hours": 0.0, "false_alarms_per_hour": None, "interval": None}
    assert json.loads(json.dumps(silent.to_json(), allow_nan=False))["background"] == {"speech": nothing}


def test_a_file_that_cannot_be_read_is_told_from_a_worker_too(tmp_path: Path) -> None:
    tasks = [ListeningTask(RecordingPlan(tmp_path / f"absent{i}.wav", (), 1.0), 0.5) for i in range(2)]
    for workers in (1, 2):
        for i, heard in enumerate(run_tasks(hear, tasks, Spotter.load(), workers)):
            assert f"absent{i}.wav" in heard.errors[0]
            assert (heard.labels, heard.seconds) == ((), {None: 0.0})
