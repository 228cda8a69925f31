"""Wake word -> command, on events that never saw audio."""

from __future__ import annotations

import itertools
import math

import pytest
import soundfile

from lcspeech import Chain, Command, Event, Spotter, UsageError
from lcspeech.chain import REMEMBERED
from tests.cli.conftest import DEMO


def event(keyword: str, start: float, end: float | None = None) -> Event:
    return Event(keyword, start, start + 0.4 if end is None else end, 0.9)


WAKE = event("marvin", 1.0, 1.5)


def chain(within: float = 3.0) -> Chain:
    return Chain("marvin", ["up", "down", "stop"], within)


def hear(chain: Chain, *events: Event) -> list[Command]:
    return [command for event in events for command in chain.hear(event)]


def test_single_words_need_no_list() -> None:
    assert Chain("marvin", "stop").then == Chain(["marvin"], ["stop"]).then == {"stop"}


def test_a_command_carries_its_wake_word() -> None:
    up = event("up", 2.0)
    assert hear(chain(), WAKE, up) == [Command(up, WAKE)]


@pytest.mark.parametrize(
    ("start", "counts"), [(1.3, False), (1.36, True), (1.5, True), (4.5, True), (4.51, False), (0.2, False)]
)
def test_only_what_begins_within_the_time_after_the_wake_word_counts(start: float, counts: bool) -> None:
    assert bool(hear(chain(), WAKE, event("up", start))) is counts
    awake = chain()
    awake.hear(WAKE)
    assert awake.awake(start) is counts


def test_without_a_wake_word_there_is_no_command() -> None:
    assert hear(chain(), event("up", 2.0), event("down", 3.0)) == []
    assert not chain().awake(2.0)


def test_several_commands_may_follow_and_words_that_are_none_do_not() -> None:
    commands = hear(chain(), WAKE, event("up", 2.0), event("yes", 3.0), event("down", 4.0))
    assert [command.event.keyword for command in commands] == ["up", "down"]
    assert {command.wake for command in commands} == {WAKE}


def test_the_last_wake_word_is_the_one_that_counts() -> None:
    again, up = event("marvin", 3.0), event("up", 6.0)
    assert hear(chain(), WAKE, again, up) == [Command(up, again)]


def test_the_order_of_two_models_does_not_matter() -> None:
    first, second = event("up", 1.9), event("down", 3.0)
    expected = {Command(first, WAKE), Command(second, WAKE)}
    for order in itertools.permutations([WAKE, first, second]):
        assert set(hear(chain(), *order)) == expected
    assert hear(chain(), event("marvin", 5.0), first, WAKE) == [Command(first, WAKE)]


def test_streams_may_be_fed_in_blocks_of_any_size() -> None:
    """One model's events of an hour, then the other's."""
    wakes = [event("marvin", second) for second in range(0, 3600, 10)]
    commands = [event("up", second + 1.0) for second in range(0, 3600, 10)]
    expected = {Command(up, wake) for up, wake in zip(commands, wakes, strict=True)}
    for order in ([*wakes, *commands], [*commands, *wakes]):
        assert set(hear(chain(), *order)) == expected


def test_a_command_from_before_the_wake_word_never_counts() -> None:
    assert hear(chain(), event("up", 0.5), WAKE) == []


def test_a_command_counts_once() -> None:
    one = chain()
    assert len(hear(one, event("up", 1.9), WAKE)) == 1
    assert hear(one, WAKE) == []


def test_armed_words_count_until_they_are_disarmed() -> None:
    ringing = chain()
    stop = event("stop", 10.0)
    assert hear(ringing, stop) == []
    ringing.arm("stop", "snooze")
    assert hear(ringing, stop, event("snooze", 11.0), event("up", 12.0)) == [
        Command(stop, None),
        Command(event("snooze", 11.0), None),
    ]
    ringing.disarm("stop")
    assert hear(ringing, stop) == []
    assert len(hear(ringing, event("snooze", 13.0))) == 1
    ringing.disarm()
    assert hear(ringing, event("snooze", 14.0)) == []


def test_an_armed_word_after_a_wake_word_still_carries_it() -> None:
    ringing = chain()
    ringing.arm("stop")
    stop = event("stop", 2.0)
    assert hear(ringing, WAKE, stop) == [Command(stop, WAKE)]


def test_what_it_remembers_is_bounded() -> None:
    long = chain()
    for second in range(0, 36_000, 20):
        hear(long, event("up", second), event("marvin", second + 10.0))
    assert len(long._wakes) == len(long._early) == REMEMBERED


@pytest.mark.parametrize(
    ("wake", "then", "within", "said"),
    [
        ([], ["up"], 3.0, "a chain needs a wake word and a command"),
        ("marvin", [], 3.0, "a chain needs a wake word and a command"),
        (["marvin", "up"], ["up", "down"], 3.0, "'up' is a wake word and a command"),
        ("marvin", ["up"], 0.0, "commands within 0.0 s; give more than 0"),
        ("marvin", ["up"], math.nan, "commands within nan s; give more than 0"),
        ("marvin", ["up"], math.inf, "commands within inf s; give more than 0"),
    ],
)
def test_what_cannot_work_is_refused(wake: str | list[str], then: list[str], within: float, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Chain(wake, then, within)


def test_two_streams_side_by_side_give_what_one_gives() -> None:
    """The same blocks to a spotter of the wake word and to one of the commands; each would do for both."""
    samples, rate = soundfile.read(DEMO, dtype="float32", frames=30 * 16_000)
    spotter = Spotter.load()
    words = [event.keyword for event in spotter.spot(samples, sample_rate=rate)]
    wake, then = words[0], [word for word in dict.fromkeys(words) if word != words[0]]
    streams = [spotter.replace(keywords=names).stream(rate) for names in ([wake], then)]
    both = Chain(wake, then, within=30.0)
    commands = []
    for start in range(0, len(samples), 640):
        for stream in reversed(streams):
            commands += hear(both, *stream.feed(samples[start : start + 640]))
    for stream in reversed(streams):
        commands += hear(both, *stream.flush())
    single = Chain(wake, then, within=30.0)
    expected = hear(single, *spotter.replace(keywords=[wake, *then]).spot(samples, sample_rate=rate))
    assert len(expected) >= 3
    assert [command.event.keyword for command in commands] == [command.event.keyword for command in expected]
    assert {command.wake.keyword for command in commands if command.wake} == {wake}


def test_a_wake_word_cannot_be_armed() -> None:
    with pytest.raises(UsageError, match="'marvin'"):
        Chain("marvin", ["up"]).arm("marvin")


@pytest.mark.parametrize(("wake", "then"), [("a", ""), ("", "b"), ("a", ["b", ""])])
def test_a_word_without_a_name_is_none(wake: str, then: str | list[str]) -> None:
    with pytest.raises(UsageError, match="one of each at least"):
        Chain(wake, then)


def test_the_time_for_a_command_is_what_is_asked_for() -> None:
    assert Chain("marvin", "stop", within=0.5).within == 0.5
    assert Chain("marvin", "stop").within == 3.0
