"""Wake word -> command: a wake word arms a set of command words for some seconds of the stream."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lcspeech.errors import UsageError

if TYPE_CHECKING:
    from lcspeech.trigger import Event

SLACK_SECONDS = 0.15  # by which a command may seem to begin before its wake word ends: ends of words are fuzzy
REMEMBERED = 1000  # wake words, and commands without one: another model's stream may be as far behind


@dataclass(frozen=True)
class Command:
    """A command word, and the wake word that it followed; None if the word was armed by `Chain.arm`."""

    event: Event
    wake: Event | None


class Chain:
    """Hears the events of one source of audio, from one model or several, and picks out the commands::

        chain = lcspeech.Chain("marvin", ["up", "down", "stop"], within=3.0)
        for event in lcspeech.listen(spotter):
            for command in chain.hear(event):
                print(command.event.keyword)  # and command.wake

    Only stream time counts, so several models' streams may be fed with the same audio in any order and blocks: a wake
    word that one model is slower to tell still finds the command that the other told before. A stream that begins anew
    needs a chain of its own, since its time does too.
    """

    def __init__(self, wake: str | Iterable[str], then: str | Iterable[str], within: float = 3.0) -> None:
        """A command counts if it begins at most `within` seconds after the end of a wake word.

        Raises:
            UsageError: if wake or command words are missing, if a word is both, or if `within` is not above 0.
        """
        self.wake = frozenset((wake,) if isinstance(wake, str) else wake)
        self.then = frozenset((then,) if isinstance(then, str) else then)
        self.within = within
        if not self.wake or not self.then or "" in self.wake | self.then:
            raise UsageError("a chain needs a wake word and a command; give one of each at least")
        if both := self.wake & self.then:
            raise UsageError(f"'{min(both)}' is a wake word and a command; let it be one of them")
        if not 0 < within < math.inf:
            raise UsageError(f"commands within {within} s; give more than 0")
        self._armed: set[str] = set()
        self._wakes: list[Event] = []  # that a command may still follow
        self._early: list[Event] = []  # commands whose wake word may still come

    def arm(self, *words: str) -> None:
        """Let `words` count without a wake word from now on: "stop" while something rings.

        Raises:
            UsageError: if one is a wake word.
        """
        if both := self.wake.intersection(words):
            raise UsageError(f"'{min(both)}' is a wake word and a command; let it be one of them")
        self._armed.update(words)

    def disarm(self, *words: str) -> None:
        """End what `arm` began; without words, for all of them."""
        self._armed.difference_update(words or tuple(self._armed))

    def awake(self, seconds: float) -> bool:
        """Whether a command that begins at this stream time would count, as far as is known now."""
        return self._wake_before(seconds) is not None

    def hear(self, event: Event) -> list[Command]:
        """Take in an event; returns the commands that it is or makes, mostly none or one."""
        if event.keyword in self.wake:
            self._wakes = [*self._wakes, event][-REMEMBERED:]
            follows = [early for early in self._early if self._follows(event, early.start)]
            self._early = [early for early in self._early if early not in follows]
            return [Command(early, event) for early in follows]
        if event.keyword not in self.then | self._armed:
            return []
        wake = self._wake_before(event.start)
        if wake is not None or event.keyword in self._armed:
            return [Command(event, wake)]
        self._early = [*self._early, event][-REMEMBERED:]
        return []

    def _wake_before(self, start: float) -> Event | None:
        """The last wake word that a command from `start` on follows."""
        fitting = (wake for wake in self._wakes if self._follows(wake, start))
        return max(fitting, key=lambda wake: wake.end, default=None)

    def _follows(self, wake: Event, start: float) -> bool:
        return -SLACK_SECONDS <= start - wake.end <= self.within
