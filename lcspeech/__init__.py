"""lcspeech: streaming keyword spotting on one CPU core."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lcspeech.audio import read_blocks
    from lcspeech.chain import Chain, Command
    from lcspeech.enrollment import enroll
    from lcspeech.errors import (
        AudioError,
        LcspeechError,
        MicrophoneError,
        MissingDependencyError,
        ModelError,
        UnknownDeviceError,
        UnknownKeywordError,
        UnknownModelError,
        UsageError,
    )
    from lcspeech.microphone import Microphone
    from lcspeech.preroll import PreRoll
    from lcspeech.spotter import Spotter, Stream, listen
    from lcspeech.trigger import Event
    from lcspeech.units import Keyword

__version__ = "0.1.0"

__all__ = [
    "AudioError",
    "Chain",
    "Command",
    "Event",
    "Keyword",
    "LcspeechError",
    "Microphone",
    "MicrophoneError",
    "MissingDependencyError",
    "ModelError",
    "PreRoll",
    "Spotter",
    "Stream",
    "UnknownDeviceError",
    "UnknownKeywordError",
    "UnknownModelError",
    "UsageError",
    "__version__",
    "enroll",
    "listen",
    "read_blocks",
]

_HOMES = {
    "Chain": "chain",
    "Command": "chain",
    "Event": "trigger",
    "Keyword": "units",
    "Microphone": "microphone",
    "PreRoll": "preroll",
    "Spotter": "spotter",
    "Stream": "spotter",
    "enroll": "enrollment",
    "listen": "spotter",
    "read_blocks": "audio",
}


if not TYPE_CHECKING:  # to which any name would be one, then

    def __getattr__(name: str) -> Any:
        """Public names are loaded on first use (PEP 562), so that ``import lcspeech`` costs next to nothing."""
        if name not in __all__:
            raise AttributeError(f"module 'lcspeech' has no attribute '{name}'")
        import importlib

        return getattr(importlib.import_module(f"lcspeech.{_HOMES.get(name, 'errors')}"), name)


def __dir__() -> list[str]:
    return __all__
