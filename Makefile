# make demo   set up (no torch) and spot the keywords of the bundled recording
# make test   set up (torch and all) and run the tests
# make lint   ruff, mypy and the import contracts
# make bench  measure the shipped models' speed on this machine beside that of others, into their speed.json

PYTHON ?= python3
SOURCES := $(shell find lcspeech pretrained -type f -not -name '*.pyc') pyproject.toml README.md LICENSE

.PHONY: demo test lint bench clean

demo: .venv-demo/ready
	.venv-demo/bin/python demos/spot_recording.py

test: .venv/ready
	.ci/debian-packages pulseaudio pulseaudio-utils libasound2-plugins libportaudio2 espeak-ng flite
	.venv/bin/python -m pytest

lint: .venv/ready
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports

bench: .venv/bench
	.venv/bin/python recipes/measure_speed.py

.venv/bench: .venv/ready
	-.venv/bin/pip install --quiet --disable-pip-version-check --editable '.[bench]'
	@touch $@

.venv-demo/ready: $(SOURCES)
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || .ci/debian-packages python3-venv
	$(PYTHON) -m venv .venv-demo
	.venv-demo/bin/pip install --quiet --disable-pip-version-check .
	@touch $@

.venv/ready: pyproject.toml
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || .ci/debian-packages python3-venv
	$(PYTHON) -m venv .venv
	.venv/bin/pip install --quiet --disable-pip-version-check --editable '.[train,compare,dev]'
	@touch $@

clean:
	rm -rf .venv .venv-demo build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
