# make train: from nothing to a report on the built-in sample. make test: lint, types, quick tests.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.installed
OUTPUT ?= outputs/make-train
KERAS := benchmarks/.venv-keras
OLDEST := .venv-oldest

.PHONY: install train test test-all test-long test-oldest check bench clean

install: $(READY)

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
		{ echo "fashion needs Python 3.11 to 3.13; $(PYTHON) is another: run make PYTHON=python3.12."; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[xla,dev]'
	@touch $(READY)

# ResNet-50 from random weights on photos the project draws itself.
train: $(READY)
	$(BIN)/python train.py data=sample model=resnet50 \
		model.pretrained=false model.unfreeze=all model.input_size=64 model.optimizer.lr=1e-3 \
		trainer.max_epochs=4 hydra.run.dir=$(OUTPUT) ckpt_path=auto
	@echo "Report: $(abspath $(OUTPUT))/report/index.html"

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: check
	$(BIN)/pytest -n auto --dist loadfile -m 'not slow and not long'

test-all: check
	$(BIN)/pytest -n auto --dist loadfile -m 'not long' --durations=10

# What takes minutes a test, or an environment of its own; each has a short twin in test-all.
test-long: $(READY)
	$(BIN)/pytest -m long --durations=10

# The quick tests with the oldest versions that pyproject.toml admits, in an environment of their own.
# Old versions tell of what new ones of other libraries will drop, which is no fault of theirs.
test-oldest: $(OLDEST)/.installed
	FASHION_OLDEST=1 PYTEST_ADDOPTS='-W ignore::DeprecationWarning' \
		$(OLDEST)/bin/pytest -m 'not slow and not long'

$(OLDEST)/.installed: pyproject.toml
	@test -x $(OLDEST)/bin/python || $(PYTHON) -m venv $(OLDEST)
	$(OLDEST)/bin/python -m pip install --quiet --disable-pip-version-check uv
	$(OLDEST)/bin/uv pip install --quiet --python $(OLDEST)/bin/python --resolution lowest-direct \
		--editable '.[xla,test,joblib,submitit,optuna]'
	@touch $@

# Keras, the peer of the training benchmark, has an environment of its own.
$(KERAS)/.installed: benchmarks/keras-requirements.txt
	@test -x $(KERAS)/bin/python || $(PYTHON) -m venv $(KERAS)
	$(KERAS)/bin/python -m pip install --quiet --disable-pip-version-check --requirement benchmarks/keras-requirements.txt
	@touch $@

bench: $(READY) $(KERAS)/.installed
	$(BIN)/python benchmarks/feed.py
	$(BIN)/python benchmarks/training.py

clean:
	rm -rf $(VENV) $(KERAS) $(OLDEST) .mypy_cache .pytest_cache .ruff_cache
