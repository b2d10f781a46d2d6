# Two commands on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
BIN := .venv/bin
DEMO ?= demo

.PHONY: demo test lint format bench notebooks clean

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

bench: .venv/installed
	$(BIN)/python benchmarks/run.py

notebooks: .venv/installed
	$(BIN)/python colab/build.py

clean:
	rm -rf .venv build dist *.egg-info demo

.venv/installed: setup.py pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[dev]"
	# Servers without display libraries need OpenCV's headless build.
	$(BIN)/python -c "import cv2" 2>/dev/null || ( \
	  $(BIN)/python -m pip uninstall --quiet --yes opencv-python && \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check opencv-python-headless )
	touch $@
