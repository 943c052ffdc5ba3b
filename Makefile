# make demo     train a small model for a minute; look at what it and the best trained one paint
# make test     the whole test suite
# make torture  kill, starve and damage trainings again and again: nothing may be lost
# make fuzz     read thousands of damaged files of every kind
# make bench    how fast it is, side by side; about four minutes
# make lint     style and types
# make clean    remove what these made

PYTHON ?= python3
BIN := .venv/bin
TRAINED := $(notdir $(firstword $(wildcard $(addprefix src/draw/assets/models/,mnist quick))))
CPU_TORCH := https://download.pytorch.org/whl/cpu

.PHONY: demo test torture fuzz bench lint clean

# One thread: networks of this size gain a quarter by the second core, and lose several times that
# when something else wants it too.
demo test torture fuzz: export OMP_NUM_THREADS = 1

demo: .venv/installed
	rm -rf out/demo
	$(BIN)/draw train quick --out out/demo
	$(BIN)/draw evaluate out/demo --split valid
	$(BIN)/draw sample $(TRAINED) --out out/demo/trained

test: .venv/dev
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile

fuzz: .venv/dev
	$(BIN)/python -m pytest tests/fuzz --hypothesis-profile thorough --numprocesses auto

torture: .venv/dev
	$(BIN)/python -m tests.torture

bench: .venv/dev
	$(BIN)/python benchmarks/bench.py

lint: .venv/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

.venv/installed: EXTRAS :=
.venv/dev: EXTRAS := [dev]

# One pip call; the index of CPU builds is named only if it answers, as pip would else wait for it.
.venv/installed .venv/dev: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	index=$$($(PYTHON) -c "import urllib.request as r; r.urlopen('$(CPU_TORCH)/torch/', timeout=5); \
		print('--extra-index-url $(CPU_TORCH)')" 2>/dev/null || true); \
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $$index \
		--constraint constraints.txt --editable '.$(EXTRAS)'
	touch $@

clean:
	rm -rf .venv out .pytest_cache .mypy_cache .ruff_cache .hypothesis
