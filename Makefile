# Two commands on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
BIN := .venv/bin
DEMO ?= demo

.PHONY: demo test lint format bench fuzz notebooks clean

demo: .venv/installed
	$(BIN)/ct-keras demo --out $(DEMO) --overwrite

# One process more than cores (tests/conftest.py), each with whole files of tests.
test: .venv/installed
	$(BIN)/python -m pytest -n auto --dist loadfile

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: .venv/installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# QUICK=1 for two networks and few repetitions. The peers have environments of their own;
# without one, its comparison is skipped.
bench: .venv/installed .venv-torch .venv-ldct
	$(BIN)/python benchmarks/run.py $(if $(QUICK),--quick) \
	  --torch .venv-torch/bin/python --ldct-benchmark .venv-ldct/bin/python

.venv-torch: PEER = torch numpy
.venv-ldct: PEER = ldct-benchmark
.venv-torch .venv-ldct:
	$(PYTHON) -m venv $@
	-$@/bin/python -m pip install --quiet --disable-pip-version-check $(PEER)

# Broken inputs of each kind, an hour or so; what they find is kept in fuzz-findings/.
INPUTS ?= 100000
fuzz: .venv/installed
	$(BIN)/python tools/fuzz.py --inputs $(INPUTS)

notebooks: .venv/installed
	$(BIN)/python colab/build.py

clean:
	rm -rf .venv .venv-torch .venv-ldct build dist *.egg-info demo

.venv/installed: setup.py pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[dev]"
	# Servers without display libraries need OpenCV's headless build.
	$(BIN)/python -c "import cv2" 2>/dev/null || ( \
	  $(BIN)/python -m pip uninstall --quiet --yes opencv-python && \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check opencv-python-headless )
	touch $@
