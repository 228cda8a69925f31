"""A microphone without hardware: a private PulseAudio server whose default source hears what its sink plays."""

from __future__ import annotations

import ctypes.util
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

START_SECONDS = 10.0  # that the server may take to answer

# PortAudio on Linux speaks ALSA, whose plugin for PulseAudio is called "pulse"
ASOUNDRC = "pcm.!default pulse\nctl.!default pulse\npcm.pulse { type pulse }\nctl.pulse { type pulse }\n"
SPEAKER = "module-null-sink sink_name=speaker rate=48000 channels=2"
MODULES = ("module-native-protocol-unix auth-anonymous=1", SPEAKER)


class VirtualMicrophone:
    """What is played is heard. PortAudio reads its environment when it is loaded: use `env` for a new process."""

    def __init__(self, home: Path) -> None:
        for name in ("runtime", "state"):
            (home / name).mkdir(mode=0o700)
        (home / ".asoundrc").write_text(ASOUNDRC)
        foreign = {"PULSE_SERVER", "PULSE_SINK", "PULSE_SOURCE", "DISPLAY", "DBUS_SESSION_BUS_ADDRESS"}
        self.env = {name: value for name, value in os.environ.items() if name not in foreign} | {
            "HOME": str(home),
            "XDG_RUNTIME_DIR": str(home / "runtime"),
            "PULSE_RUNTIME_PATH": str(home / "runtime"),
            "PULSE_STATE_PATH": str(home / "state"),
        }
        self._log = (home / "pulseaudio.log").open("w+")
        options = ["-n", "--daemonize=no", "--system=false", "--exit-idle-time=-1", "--use-pid-file=no"]
        modules = [f"--load={module}" for module in MODULES]
        self._server = subprocess.Popen(
            ["pulseaudio", *options, *modules], env=self.env, stdout=self._log, stderr=subprocess.STDOUT
        )

    def start(self) -> None:
        """Wait until the server answers, and make what the sink plays the default source."""
        end = time.monotonic() + START_SECONDS
        while self._pactl("set-default-source", "speaker.monitor"):
            if self._server.poll() is not None or time.monotonic() > end:
                self._log.seek(0)
                raise RuntimeError(f"pulseaudio does not run:\n{self._log.read()}")
            time.sleep(0.05)

    def play(self, path: Path) -> subprocess.Popen[bytes]:
        """Begin to play an audio file; wait for the process to hear it to its end."""
        return subprocess.Popen(["paplay", "--device=speaker", str(path)], env=self.env)

    def unplug(self) -> None:
        """Take the device away while it records."""
        self._pactl("unload-module", "module-null-sink")

    def plug_in(self) -> None:
        """Bring it back."""
        self._pactl("load-module", *SPEAKER.split())
        self._pactl("set-default-source", "speaker.monitor")

    def stop(self) -> None:
        """End the server."""
        self._server.terminate()
        try:
            self._server.wait(5)
        except subprocess.TimeoutExpired:
            self._server.kill()
            self._server.wait()
        self._log.close()

    def _pactl(self, *arguments: str) -> int:
        return subprocess.run(["pactl", *arguments], env=self.env, check=False, capture_output=True).returncode


@pytest.fixture
def virtual_microphone() -> Iterator[VirtualMicrophone]:
    """A microphone that hears what is played on it. Without the programs it takes, skip; in CI, fail."""
    missing = [name for name in ("pulseaudio", "paplay", "pactl") if shutil.which(name) is None]
    missing += [] if ctypes.util.find_library("portaudio") else ["libportaudio"]
    if missing:
        packages = "pulseaudio pulseaudio-utils libasound2-plugins libportaudio2"
        reason = f"{', '.join(missing)} missing; apt-get install {packages}"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    # not tmp_path: a socket's path has to be shorter than 108 characters
    with tempfile.TemporaryDirectory(prefix="pulse") as home:
        microphone = VirtualMicrophone(Path(home))
        try:
            microphone.start()
            yield microphone
        finally:
            microphone.stop()
