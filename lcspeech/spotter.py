"""The one place where the stages meet: Spotter holds weights and options, Stream the state of one source of audio."""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lcspeech import pretrained
from lcspeech.audio import Resampler, read_blocks, to_mono
from lcspeech.card import ModelCard
from lcspeech.decoder import Hits
from lcspeech.encoder import Encoder, EncoderStream
from lcspeech.errors import MissingDependencyError, ModelError, UnknownKeywordError, UsageError
from lcspeech.features import LogMelStream
from lcspeech.gate import Gate, GatedStream
from lcspeech.microphone import Microphone
from lcspeech.pronunciation import spell
from lcspeech.scoring import ClosedSet
from lcspeech.search import RestingSearch, Search
from lcspeech.trigger import Event, Trigger
from lcspeech.units import Keyword, Units

_log = logging.getLogger(__name__)

Floats = NDArray[np.float32]
Samples = NDArray[np.generic]
State = dict[str, NDArray[np.generic]]
Audio = str | os.PathLike[str] | Samples

REFRACTORY_SECONDS = 0.3
LEADING_SECONDS = 2.4  # of silence that every stream seems to have heard: until then the network's state settles
STEP_SECONDS = 0.24  # of audio per step of a stream, at least, while no event is near: a network's cost is its calls
GATED_STEP_SECONDS = 0.36  # the same of a dynamic model, which is to save more
BLOCK_SECONDS = 10  # of samples that are heard at a time: longer ones are no faster, and take more memory
SEARCH_FRAMES = 256  # searched at a time: bounds memory when a long block comes
_OF_ANY_LENGTH = {"resampler/recent", "log_mel/pending"}  # in a stream's state: what waits for more
_NOT_FINITE = {"search/rows", "trigger/pending"}  # what need not be
TRAILING_SECONDS = 0.5  # of silence after the end: the network answers late, and blanks must follow a word


class Spotter:
    """Weights and options, immutable and safe to share between threads; each source of audio gets its own stream."""

    def __init__(
        self,
        encoder: Encoder,
        keywords: tuple[Keyword, ...],
        threshold: float | None = None,
        refractory: float = REFRACTORY_SECONDS,
    ) -> None:
        """Most callers want `Spotter.load`. `threshold` overrides those of the keywords; `refractory` in seconds."""
        if threshold is not None and not 0.0 <= threshold <= 1.0:
            raise UsageError(f"a threshold of {threshold}; give one from 0 (all) to 1 (nothing)")
        if not keywords:
            raise UsageError("no keyword given; name at least one")
        names = [keyword.name for keyword in keywords]
        plain = [name.casefold() for name in names]
        if len(set(plain)) < len(plain):
            twice = next(name for name, same in zip(names, plain, strict=True) if plain.count(same) > 1)
            raise UsageError(f"two keywords are named '{twice}'; give one another name")
        if not 0 <= refractory < math.inf:
            raise UsageError(f"a refractory time of {refractory} s; give 0 or more")
        card = encoder.card
        for keyword in keywords:
            if (head := keyword.head) and (head.sha256 != encoder.sha256 or head.hidden != card.hidden):
                other = "another version of it" if head.model == card.name else f"'{head.model}'"
                raise UsageError(
                    f"'{keyword.name}' was not learned with this '{card.name}' but with {other}; listen with that, or "
                    "enroll the word again"
                )
        self.encoder, self.keywords, self.threshold, self.refractory = encoder, keywords, threshold, refractory
        fillers = tuple(word for word in card.known() if word.name not in {keyword.name for keyword in keywords})
        frames = round(LEADING_SECONDS / card.frame_seconds) * card.time_stride
        silence = np.full((frames, card.features.n_mels), np.log(card.features.floor), np.float32)
        rows, self.quiet = encoder.run(silence, encoder.initial_state())
        if len(rows) * card.time_stride != frames:
            raise ModelError("the model's time stride is not that of its card; export it again")
        self.gate = Gate(encoder) if card.gate.hidden else None
        search = card.search
        self._closed_set = ClosedSet(keywords, fillers, search.unknown_bias, search.silence_bias)
        self.search = RestingSearch(Search(keywords, card), card)
        self.thresholds = tuple(keyword.threshold if threshold is None else threshold for keyword in keywords)
        lead = self.lead / card.features.sample_rate
        delays = (search.start_delay + lead, search.end_delay + lead)
        self.trigger = Trigger(names, self.thresholds, refractory, card.frame_seconds, delays)  # the last: it is whole

    def __setattr__(self, name: str, value: object) -> None:
        """Refused once it is made: what was made of its options would not follow.

        Raises:
            AttributeError: always then.
        """
        if "trigger" in self.__dict__:
            raise AttributeError("a Spotter never changes; replace(threshold=..., keywords=...) makes another")
        super().__setattr__(name, value)

    def __delattr__(self, name: str) -> None:
        """Refused likewise.

        Raises:
            AttributeError: always.
        """
        raise AttributeError("a Spotter never changes; replace(threshold=..., keywords=...) makes another")

    @classmethod
    def load(cls, model: str | Path | None = None) -> Spotter:
        """A shipped model by name, a model's folder or .onnx file; None gives the best shipped model.

        Raises:
            UnknownModelError: if there is no such model.
            ModelError: if its file is damaged or of another format.
        """
        content = pretrained.load(model)
        try:
            encoder = Encoder(content)
        except ModelError as error:
            raise ModelError(f"'{pretrained.locate(model)}': {error}") from error
        return cls(encoder, encoder.card.spotted())

    @property
    def card(self) -> ModelCard:
        """What the model says about itself."""
        return self.encoder.card

    def __reduce__(self) -> tuple[Any, ...]:
        """Copies and pickles hold the model's file, from which another process makes sessions of its own."""
        return _of_model, (self.encoder.model, self.keywords, self.threshold, self.refractory)

    @property
    def lead(self) -> int:
        """Samples of silence that come before a stream: what windows reach beyond their frames.

        So a step is complete with the block of 40 or 80 ms that brings its last sample, not with the one after.
        """
        return self.card.features.window - self.card.features.hop

    @property
    def step(self) -> int:
        """Log-mel frames that a stream hands to the network at a time, at least, as long as no event is near."""
        seconds = STEP_SECONDS if self.gate is None else GATED_STEP_SECONDS
        frames = round(seconds * self.card.features.frame_rate)
        return -(-frames // self.short_step) * self.short_step

    @property
    def short_step(self) -> int:
        """The fewest that there can be."""
        return self.card.time_stride if self.gate is None else self.gate.settings.step

    @cached_property
    def short_steps(self) -> tuple[int, ...]:
        """Those when an event is near. Only a few lengths, since the network is made ready for each."""
        return tuple(count * self.short_step for count in (1, 2, 4) if count * self.short_step < self.step)

    def replace(
        self,
        *,
        threshold: float | None = None,
        keywords: str | Keyword | Iterable[str | Keyword] | None = None,
        refractory: float | None = None,
    ) -> Spotter:
        """The same weights with other options; those not given stay. `keywords` are as `keyword` takes them, or made.

        Words that the model was not trained on, typed or learned, are found by ``Spotter.load("open")``.

        Raises:
            UnknownKeywordError: for a word whose pronunciation is not known.
            UsageError: if two that differ have one name, or an option makes no sense.
        """
        chosen = self.keywords
        if keywords is not None:
            if isinstance(keywords, Mapping):
                raise UsageError("keywords by name; give a list of them, and dataclasses.replace a Keyword's threshold")
            keywords = [keywords] if isinstance(keywords, str | Keyword) else list(keywords)
            if strange := [keyword for keyword in keywords if not isinstance(keyword, str | Keyword)]:
                raise UsageError(f"a keyword {strange[0]!r}; give text or a Keyword")
            made = [keyword if isinstance(keyword, Keyword) else self.keyword(keyword) for keyword in keywords]
            if strange := [word.name for word in made if word.name in keywords and not self.hears(word)]:
                _log.warning(
                    "'%s' hardly ever hears words that it was not trained to tell, as %s; Spotter.load('%s') does",
                    *(self.card.name, ", ".join(strange), pretrained.OPEN),
                )
            chosen = tuple(dict.fromkeys(keyword.within(self.units) for keyword in made))
        return Spotter(
            self.encoder,
            chosen,
            self.threshold if threshold is None else threshold,
            self.refractory if refractory is None else refractory,
        )

    @property
    def units(self) -> Units:
        """What the model spells in."""
        return Units(self.card.units)

    def keyword(self, text: str) -> Keyword:
        """A word that the model was trained on, by its name; else a word or phrase as it is written, to be spelled.

        What is spelled is found by a model for that, ``Spotter.load("open")``, and hardly ever by another.

        Raises:
            UnknownKeywordError: for a word that neither the model nor CMUdict knows, unless espeak-ng can spell it.
            UsageError: for what is no word.
        """
        known = {keyword.name.lower(): keyword for keyword in self.card.known()}
        if text.lower() in known:
            return dataclasses.replace(known[text.lower()], name=text)
        try:
            return self.spelled(text, spell(text).pronunciations)
        except (UnknownKeywordError, MissingDependencyError) as error:
            problem = f"{error}; this model knows without: {', '.join(sorted(known))}"
            raise type(error)(problem) from error

    def hears(self, keyword: Keyword) -> bool:
        """Whether the model is one for the keyword: for words of one's own, or for those it was trained to tell."""
        known = {sequence for word in self.card.known() for sequence in word.sequences}
        return self.card.hidden > 0 or keyword.head is not None or known.issuperset(keyword.sequences)

    def spelled(self, name: str, symbols: Iterable[Iterable[str]]) -> Keyword:
        """A keyword from the symbols of its pronunciations; one that sounds like a known word has that one's threshold.

        Raises:
            UsageError: if a symbol is not among `units`.
        """
        keyword = Keyword.spelled(name, symbols, self.units)
        known = {sequence: word.threshold for word in self.card.known() for sequence in word.sequences}
        if not known.keys() >= set(keyword.sequences):
            return keyword
        return dataclasses.replace(keyword, threshold=max(known[sequence] for sequence in keyword.sequences))

    @cached_property
    def fingerprint(self) -> NDArray[np.uint8]:
        """Of the model and the keywords in their order: a stream's state makes no sense to any other."""
        words = repr([(keyword.name, keyword.symbols, keyword.head) for keyword in self.keywords])
        return np.frombuffer(hashlib.sha256(self.encoder.model + words.encode()).digest(), np.uint8)

    def encoding(self, state: State | None = None) -> EncoderStream | GatedStream:
        """One stream's way through the network, new or going on from a saved `state`."""
        own = None if state is None else {name: array.astype(np.float32) for name, array in state.items()}
        if self.gate is None:
            usual = (*self.short_steps, self.step, self.step + self.short_step)  # the last in blocks of 80 ms
            return EncoderStream(self.encoder, usual, own or self.quiet)
        return GatedStream(self.encoder, self.gate, self.quiet, own)

    def stream(self, sample_rate: int | None = None, state: State | None = None) -> Stream:
        """A stream for audio at `sample_rate` Hz (None: the model's own), new or going on from a saved `state`."""
        return Stream(self, self.card.features.sample_rate if sample_rate is None else sample_rate, state)

    def spot(self, audio: Audio, *, sample_rate: int | None = None) -> tuple[Event, ...]:
        """Events in a file or in samples ``[n]`` or ``[n, channels]``; any rate and channels, formats of libsndfile.

        Files are streamed from disk, at the rate that they name. Samples are float in [-1, 1] or integer, and need
        their `sample_rate` in Hz.

        Raises:
            UsageError: if samples come without it.
            AudioError: if a part of the file cannot be read, or samples are not finite or far beyond [-1, 1]; a
                `stream` fed by hand gives the events before that.
        """
        blocks, rate = self._blocks(audio, sample_rate)
        with self.stream(rate) as stream:
            events = [event for block in blocks for event in stream.feed(block)]
            return (*events, *stream.flush())

    def peak(self, audio: Audio, sample_rate: int | None = None) -> float:
        """The highest score that any of the keywords reaches in it, whatever the threshold. Arguments as for `spot`."""
        blocks, rate = self._blocks(audio, sample_rate)
        peak, stream = 0.0, self.stream(rate)
        for block in blocks:
            stream.feed(block)
            peak = max(peak, stream.peak)
        stream.flush()
        return max(peak, stream.peak)

    def classify(
        self, audio: Audio, *, sample_rate: int | None = None, block: int | None = None
    ) -> tuple[tuple[str, float], ...]:
        """Score a clip as a whole: (label, probability), the likeliest first, "unknown" and "silence" included.

        The clip is meant to hold one word, in a few seconds; its probabilities sum to 1. Of a learned keyword its
        pronunciation alone counts here, not its head. Arguments as for `spot` and `log_probs`.

        Raises:
            UsageError: if a keyword has the name of one of those two.
        """
        if len(set(self._closed_set.labels)) < len(self._closed_set.labels):
            raise UsageError("a keyword is named 'unknown' or 'silence', as a label is; give it another name")
        posteriors = self._closed_set.posteriors(self.log_probs(audio, sample_rate=sample_rate, block=block))
        ranked = sorted(zip(self._closed_set.labels, posteriors.tolist(), strict=True), key=lambda pair: -pair[1])
        return tuple(ranked)

    def log_probs(
        self, audio: Audio, *, sample_rate: int | None = None, block: int | None = None, trailing: bool = True
    ) -> Floats:
        """Log-probs of the units ``[frames, units]``, computed in one piece, or streamed by `block` samples.

        Both give the same numbers within 1e-4; `lcspeech verify` checks it. `trailing` silence is added at the end.
        Frames are those of a clip, the first of which begins with it; a stream's are `lead` samples earlier.
        """
        return self._rows(audio, sample_rate, block, trailing)[:, : len(self.card.units)]

    def _rows(self, audio: Audio, sample_rate: int | None, block: int | None = None, trailing: bool = True) -> Floats:
        """What the network gives, ``[frames, columns]``: evidence for words beside the log-probs."""
        blocks, rate = self._blocks(audio, sample_rate)
        stream = Stream(self, rate, lead=False)
        whole = np.concatenate([np.empty(0, np.float32), *blocks])
        if block is not None and block < 1:
            raise UsageError(f"blocks of {block} samples; give 1 or more, or None for one piece")
        size = max(1, len(whole)) if block is None else block
        parts = [stream.encode(whole[start : start + size]) for start in range(0, len(whole), size)]
        return np.concatenate([*parts, stream.encode_rest(trailing)])

    def _blocks(self, audio: Audio, sample_rate: int | None) -> tuple[Iterable[Floats], int]:
        if isinstance(audio, str | os.PathLike):
            rate = self.card.features.sample_rate
            return read_blocks(audio, rate), rate
        if sample_rate is None:
            raise UsageError("samples without their sample_rate; pass sample_rate=16000, or whatever it is in Hz")
        Resampler(sample_rate, self.card.features.sample_rate)  # refuses what is no rate
        mono, size = to_mono(np.asarray(audio)), BLOCK_SECONDS * int(sample_rate)
        return [mono[start : start + size] for start in range(0, len(mono), size)] or [mono], sample_rate


def _of_model(model: bytes, *options: Any) -> Spotter:
    return Spotter(Encoder(model), *options)


class Stream:
    """One source of audio. Feed blocks of any size, get the events that they complete; flush at the end."""

    def __init__(self, spotter: Spotter, sample_rate: int, state: State | None = None, *, lead: bool = True) -> None:
        """Most callers want `Spotter.stream`. Without `lead`, for `encode` alone, the first frame is that of the first
        sample; events would be told too early by as much.
        """
        self.spotter = spotter
        features = spotter.card.features
        self._resampler = Resampler(sample_rate, features.sample_rate)
        self.sample_rate = self._resampler.from_rate
        self._log_mel = LogMelStream(features, spotter.lead if lead else 0)
        self._encoder = spotter.encoding()
        self._search_state = spotter.search.initial_state()
        self._trigger_state = spotter.trigger.initial_state()
        self._samples = 0  # heard so far, at sample_rate
        self.hits: list[Hits] = []  # what was searched of the last block, events or not
        self._ended = self._flushed = False
        if state is not None:
            self._restore(state)
        self._step = self._next_step()

    def __reduce__(self) -> tuple[Any, ...]:
        """Copies and pickles are streams of their own, which go on from here.

        Raises:
            UsageError: after `flush`.
        """
        return Stream, (self.spotter, self.sample_rate, self.state)

    def __enter__(self) -> Stream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended = True

    @property
    def seconds(self) -> float:
        """Seconds of audio heard so far."""
        return self._samples / self.sample_rate

    @property
    def peak(self) -> float:
        """The highest score of any keyword in what was searched of the last block."""
        return max((float(hits.scores.max(initial=0.0)) for hits in self.hits), default=0.0)

    def feed(self, samples: Samples) -> list[Event]:
        """Hear a block ``[n]`` or ``[n, channels]``, float in [-1, 1] or integer; returns the events it completes.

        Raises:
            AudioError: if a sample is not finite, or far beyond [-1, 1]. The stream is as before, and goes on with the
                next block.
            UsageError: after `flush` or the end of the `with` block.
        """
        self._check_open()
        heard = self._resampled(samples)
        self.hits = []
        rows = self._encode(heard, self.spotter.short_step, self._step)
        return self._events(rows) if len(rows) else []

    def _check_open(self) -> None:
        if self._ended:
            raise UsageError("this stream has ended; open another with spotter.stream()")

    def _next_step(self) -> int:
        """Frames for the network's next step, at least: as many as no word that has begun has to wait for.

        Many are cheaper. A word that begins and ends within a long step waits for its end.
        """
        spotter, heard = self.spotter, self._trigger_state
        hit = spotter.search.soonest(self._search_state, spotter.trigger.ready(heard))
        event = spotter.trigger.soonest(heard, int(self._search_state["frame"]), hit) * spotter.card.time_stride
        if event >= spotter.step:
            return spotter.step
        return max((step for step in spotter.short_steps if step <= event), default=spotter.short_step)

    def flush(self) -> list[Event]:
        """End the stream: returns the events that waited for more audio. Nothing can be fed afterwards.

        Raises:
            UsageError: after the end of the `with` block.
        """
        if self._flushed:
            return []
        if self._ended:
            raise UsageError("this stream has ended; flush it within the 'with' block")
        self.hits = []
        events = self._events(self.encode_rest()) + self.spotter.trigger.finish(self._trigger_state)
        self._ended = self._flushed = True
        heard = self.seconds
        return [Event(e.keyword, min(e.start, heard), min(e.end, heard), e.score) for e in events]

    def encode(self, samples: Samples) -> Floats:
        """The stages before the search alone: samples in, the rows ``[frames, columns]`` that they complete out.

        Raises:
            AudioError, UsageError: as `feed`.
        """
        self._check_open()
        return self._encode(self._resampled(samples), self.spotter.short_step, self.spotter.step)

    def encode_rest(self, trailing: bool = True) -> Floats:
        """The rows of what is still in the resampler, followed by `trailing` silence."""
        rest = self._resampler.flush()
        silence = int(TRAILING_SECONDS * self.spotter.card.features.sample_rate) if trailing else 0
        return self._encode(np.concatenate([rest, np.zeros(silence, np.float32)]), self.spotter.card.time_stride)

    def _resampled(self, samples: Samples) -> Floats:
        mono = to_mono(samples)
        self._samples += len(mono)
        return self._resampler.process(mono)

    def _encode(self, samples: Floats, multiple: int, least: int = 1) -> Floats:
        return self._encoder.process(self._log_mel.process(samples, multiple, least))

    def _events(self, rows: Floats) -> list[Event]:
        found: list[Event] = []
        for start in range(0, len(rows), SEARCH_FRAMES):
            hits, self._search_state = self.spotter.search.run(rows[start : start + SEARCH_FRAMES], self._search_state)
            events, self._trigger_state = self.spotter.trigger.run(
                hits.scores, hits.starts, hits.ends, hits.first_frame, self._trigger_state
            )
            self.hits.append(hits)
            found += events
        self._step = self._next_step()
        return found

    @property
    def state(self) -> State:
        """All that the stream remembers, as named arrays: save it with ``numpy.savez``, resume it in a new stream.

        Raises:
            UsageError: after `flush`, which adds silence at the end.
        """
        if self._flushed:
            raise UsageError("this stream has been flushed, and cannot go on; take its state before that")
        parts: dict[str, State] = {
            "resampler": dict(self._resampler.state()),
            "log_mel": {"pending": self._log_mel.pending},
            "encoder": dict(self._encoder.state),
            "search": self._search_state,
            "trigger": self._trigger_state,
            "stream": {
                "samples": np.array([self._samples, self.sample_rate]),
                "of": self.spotter.fingerprint,
            },
        }
        return {f"{part}/{name}": array.copy() for part, arrays in parts.items() for name, array in arrays.items()}

    def _restore(self, state: State) -> None:
        fresh = self.state
        if set(state) != set(fresh) or np.shape(state["stream/samples"]) != np.shape(fresh["stream/samples"]):
            raise UsageError("this state was saved by another version of lcspeech; start a new stream")
        samples, rate = np.array(state["stream/samples"]).tolist()
        if not np.array_equal(state["stream/of"], fresh["stream/of"]):
            raise UsageError("this state was saved with another model or other keywords; start a new stream")
        if rate != self.sample_rate:
            raise UsageError(f"this state was saved of a stream of {rate} Hz; go on with that, or start a new stream")
        parts: dict[str, dict[str, NDArray[np.generic]]] = {}
        for key, array in state.items():
            part, name = key.split("/")
            shape, usual = np.shape(array), np.shape(fresh[key])
            if shape[1:] != usual[1:] or (shape != usual and (key not in _OF_ANY_LENGTH or not shape)):
                raise UsageError(f"this state is damaged, its '{key}' has another shape; start a new stream")
            if np.asarray(array).dtype.kind != fresh[key].dtype.kind or (
                key not in _NOT_FINITE and not np.isfinite(array).all()
            ):
                raise UsageError(f"this state is damaged, its '{key}' holds what are no numbers; start a new stream")
            parts.setdefault(part, {})[name] = np.array(array)
        self._resampler.restore(parts["resampler"])
        self._log_mel.pending = parts["log_mel"]["pending"].astype(np.float32)
        self._encoder = self.spotter.encoding(parts["encoder"])
        self._search_state, self._trigger_state = parts["search"], parts["trigger"]
        self._samples = samples


def listen(spotter: Spotter, device: str | int | None = None) -> Iterator[Event]:
    """Events from a microphone as they happen, until the caller stops; `device` is an index or part of a name.

    A device that is unplugged is waited for; that and other trouble is told by the logger ``lcspeech.microphone``.

    Raises:
        UnknownDeviceError: if there is no such device; the message lists those there are. This, and the next, when the
            first event is asked for.
        MicrophoneError: if there is no microphone, or it cannot be opened.
    """
    with Microphone(device) as microphone, spotter.stream(microphone.sample_rate) as stream:
        for block in microphone:
            yield from stream.feed(block)
