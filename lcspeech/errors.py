"""Everything lcspeech raises on purpose; each message says what was wrong and what to do.

::

    LcspeechError
    ├── UsageError              something was asked for that does not exist (exit code 2)
    │   ├── UnknownKeywordError
    │   ├── UnknownModelError
    │   └── UnknownDeviceError
    ├── DataError               training data that is missing or not laid out as expected
    ├── AudioError              a file or a block of samples cannot be used
    ├── MicrophoneError         no microphone, or one that does not deliver
    ├── ModelError              a model file or its card cannot be trusted or understood
    └── MissingDependencyError  a library is not installed; the message names the command
"""


class LcspeechError(Exception):
    """Base of all errors raised on purpose by lcspeech."""


class UsageError(LcspeechError):
    """Something was asked for that does not exist or makes no sense."""


class UnknownKeywordError(UsageError):
    """A keyword that the model does not know."""


class UnknownModelError(UsageError):
    """A model name that is not shipped and is not a folder."""


class UnknownDeviceError(UsageError):
    """An input device that is not there."""


class DataError(LcspeechError):
    """Training data that is missing or not laid out as expected."""


class AudioError(LcspeechError):
    """Audio that cannot be read or used."""


class MicrophoneError(LcspeechError):
    """No microphone, or one that does not deliver audio."""


class ModelError(LcspeechError):
    """A model that is damaged, of another format, or does not fit this version."""


class MissingDependencyError(LcspeechError):
    """An optional library is missing."""
