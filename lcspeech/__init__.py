"""lcspeech: streaming keyword spotting on one CPU core."""

__version__ = "0.1.0"
