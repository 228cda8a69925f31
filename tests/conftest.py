"""Fixtures of all tests."""

import os

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # some tests import onnxruntime themselves
pytest_plugins = ["tests.portaudio", "tests.pulse"]
