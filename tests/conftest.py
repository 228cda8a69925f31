"""Fixtures of all tests."""

pytest_plugins = ["tests.portaudio", "tests.pulse"]
