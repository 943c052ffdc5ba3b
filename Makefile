# make demo     train a small model and draw samples from it and from the trained MNIST model
# make test     run the tests
# make bench    measure the speed, in about four minutes
# make lint     check style and types
# make clean    remove everything that these targets create

PYTHON ?= python3
BIN := .venv/bin
CPU_TORCH := https://download.pytorch.org/whl/cpu

.PHONY: demo test bench lint clean

# A second thread speeds up networks of this size by a quarter, but slows them down several times
# when another process needs the core.
demo test: export OMP_NUM_THREADS = 1

demo: .venv/installed
	rm -rf out/demo
	$(BIN)/draw train quick --out out/demo
	$(BIN)/draw evaluate out/demo --split valid
	$(BIN)/draw sample mnist --out out/demo/trained

test: .venv/dev
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile

bench: .venv/dev
	$(BIN)/python benchmarks/bench.py

lint: .venv/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

.venv/installed: EXTRAS :=
.venv/dev: EXTRAS := [dev]

# Installs the CPU builds of PyTorch if their index is reachable; pip would retry for minutes.
.venv/installed .venv/dev: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	index=$$($(PYTHON) -c "import urllib.request as r; r.urlopen('$(CPU_TORCH)/torch/', timeout=5); \
		print('--extra-index-url $(CPU_TORCH)')" 2>/dev/null || true); \
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $$index \
		--constraint constraints.txt --editable '.$(EXTRAS)'
	touch $@

clean:
	rm -rf .venv out .pytest_cache .mypy_cache .ruff_cache .hypothesis
