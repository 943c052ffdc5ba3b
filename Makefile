# make demo     train a small model and draw samples from it and from the trained MNIST model
# make test     run the tests
# make test-min run some tests with the oldest supported version of every dependency but PyTorch
# make bench    measure the speed, in about four minutes
# make lint     check style and types
# make docs     build the documentation in out/docs; docs-serve shows it while you edit
# make notebook run the tutorial notebook, in about three minutes, and keep its output
# make release-check  build the package, and try it with each of PYTHONS and with torch TORCH
# make clean    remove everything that these targets create

PYTHON ?= python3
PYTHONS ?= $(PYTHON)
BIN := .venv/bin
# More processes than cores, because many tests wait for a browser or for another process. The order
# is that of tests/conftest.py.
PARALLEL := --numprocesses 4 --dist loadfile --no-loadscope-reorder
TORCH ?= 2.13.0
CPU_TORCH := https://download.pytorch.org/whl/cpu
# The CPU builds of PyTorch, if their index is reachable; pip would retry for minutes.
FIND_CPU_TORCH = index=$$($(PYTHON) -c "import urllib.request as r; \
	r.urlopen('$(CPU_TORCH)/torch/', timeout=5); print('--extra-index-url=$(CPU_TORCH)')" \
	2>/dev/null || true)

# These use every dependency, in about a minute.
MIN_TESTS := tests/test_seeding.py tests/test_export.py tests/commands/test_evaluate.py \
	tests/commands/test_main.py tests/commands/test_train.py tests/data/test_house_numbers.py \
	tests/data/test_picture_files.py tests/data/test_svhn.py tests/figures tests/storage/test_hub.py

.PHONY: demo test test-min bench lint docs docs-serve notebook release-check clean

# A second thread speeds up networks of this size by a quarter, but slows them down several times
# when another process needs the core.
demo test test-min notebook: export OMP_NUM_THREADS = 1

# Otherwise each process compiles the modules and rewrites the assertions of all tests.
test test-min: export PYTHONDONTWRITEBYTECODE =

demo: .venv/installed
	rm -rf out/demo
	$(BIN)/draw train quick --out out/demo
	$(BIN)/draw evaluate out/demo --split valid
	$(BIN)/draw sample mnist --out out/demo/trained

test: .venv/dev
	$(BIN)/python -m pytest $(PARALLEL)

# Without the checks of type annotations: some versions of jaxtyping's plugin reject single files.
test-min: .venv-min/installed
	.venv-min/bin/python -m pytest -q -o addopts= $(PARALLEL) $(MIN_TESTS)

bench: .venv/dev
	$(BIN)/python benchmarks/bench.py

lint: .venv/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: .venv/dev
	$(BIN)/python -m mkdocs build --strict

docs-serve: .venv/dev
	$(BIN)/python -m mkdocs serve

notebook: .venv/dev
	$(BIN)/python docs/site/run_notebook.py

release-check: .venv/dev
	$(FIND_CPU_TORCH); \
	$(BIN)/python .ci/release_check.py --torch $(TORCH) $$index --python $(PYTHONS)

.venv/installed: EXTRAS :=
.venv/dev: EXTRAS := [dev]

.venv-min/installed: EXTRAS := [tensorboard,mp4,onnx,svhn,test]
.venv/installed .venv/dev: constraints.txt
.venv-min/installed: constraints-min.txt

.venv/installed .venv/dev .venv-min/installed: pyproject.toml
	$(PYTHON) -m venv $(@D)
	$(FIND_CPU_TORCH); \
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check $$index \
		--constraint $(filter constraints%,$^) --editable '.$(EXTRAS)'
	touch $@

clean:
	rm -rf .venv .venv-min dist out .pytest_cache .mypy_cache .ruff_cache .hypothesis
