"""Fixtures of all tests."""

import os
import signal

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # some tests import onnxruntime themselves
# A shell that starts the tests in the background has them ignore Ctrl-C, and all that they start
signal.signal(signal.SIGINT, signal.default_int_handler)
pytest_plugins = ["tests.portaudio", "tests.pulse"]
