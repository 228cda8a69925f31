"""A smart speaker: "zero" wakes it; then "right" plays the next item, "up" and "down" set the volume.

"stop" needs no wake word, but counts only while it plays. It plays a radio play full of these very words, and its
microphone hears that: a word that is heard in the playback too was not said to it.
"""

from __future__ import annotations

import numpy as np
from hearing import COMMANDS, Block, arguments, hear

import lcspeech

WAKE, ORDERS = "zero", {"up": 1, "down": -1}
ITEM_SECONDS = 4.8  # of the radio play before the next item; in the first, someone says "zero" at once
ECHO = 0.2  # of the playback that comes back into the microphone of a recording
GUARD_SECONDS = 1.0  # between a word in the playback and in the microphone, at most


class Player:
    """What the loudspeaker plays: a programme at a volume, and beeps."""

    def __init__(self, rate: int) -> None:
        self.programme = np.concatenate(list(lcspeech.read_blocks(COMMANDS, rate)))
        self.rate, self.position, self.volume, self.playing = rate, 0, 5, False
        self.beeps = np.empty(0, np.float32)

    def beep(self, hertz: float) -> None:
        self.beeps = 0.05 * np.sin(2 * np.pi * hertz * np.arange(self.rate // 10) / self.rate).astype(np.float32)

    def next_item(self) -> None:
        self.position += round(ITEM_SECONDS * self.rate)
        self.playing = True

    def next_block(self, samples: int) -> Block:
        beep, self.beeps = self.beeps[:samples], self.beeps[samples:]
        played = np.pad(beep, (0, samples - len(beep)))
        if self.playing:
            places = np.arange(self.position, self.position + samples) % len(self.programme)
            played += self.programme[places] * self.volume / 10
            self.position += samples
        return played


def obey(word: str, player: Player, chain: lcspeech.Chain) -> str:
    player.beep(440)
    if word == "stop":
        player.playing = False
        chain.disarm("stop")
        return "silence"
    if word == "right":
        player.next_item()
        chain.arm("stop")
        return "the next item plays"
    player.volume = min(10, max(0, player.volume + ORDERS[word]))
    return f"volume {player.volume}"


def main() -> None:
    args = arguments(__doc__).parse_args()
    spotter = lcspeech.Spotter.load().replace(keywords=[WAKE, *ORDERS, "right", "stop"])
    chain = lcspeech.Chain(WAKE, [*ORDERS, "right"], within=3.0)
    with hear(args.device, args.recording) as source:
        player, stream = Player(source.sample_rate), spotter.stream(source.sample_rate)
        playback = spotter.replace(threshold=0.3).stream(source.sample_rate)  # with sharper ears than the other
        own: list[lcspeech.Event] = []
        for block in source.blocks:
            played = player.next_block(len(block))  # a real speaker sends it to its loudspeaker here
            own = [*own, *playback.feed(played)][-10:]
            for event in stream.feed(block if source.live else block + ECHO * played):
                line = f"{event.start:6.2f} s  {event.keyword:<6}"
                if any(o.keyword == event.keyword and abs(o.end - event.end) < GUARD_SECONDS for o in own):
                    print(line, "- own playback, ignored", flush=True)
                    continue
                if event.keyword == WAKE:
                    player.beep(880)
                    print(line, "beep! yes?", flush=True)
                for command in chain.hear(event):
                    print(line, obey(command.event.keyword, player, chain), flush=True)


if __name__ == "__main__":
    main()
