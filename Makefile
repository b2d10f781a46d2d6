# Two commands on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
BIN := .venv/bin
DEMO ?= demo

.PHONY: demo test test-lowest test-colab test-beam lint format docs package bench kills fuzz notebooks clean

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

# The quick part of the tests with the lowest supported version of every requirement.
LOWEST := $(addprefix tests/,test_foundation.py test_settings.py test_registry.py metrics \
  filters/test_filters.py simulation/test_simulation_dose.py containers \
  dicom/test_dicom_reader.py dicom/test_dicom_writer.py dicom/test_dicom_codecs.py \
  models/test_models_red_cnn.py models/test_models_sizes.py \
  denoising/test_denoising_denoiser.py \
  denoising/test_denoising_published.py)
test-lowest: .venv-lowest/installed
	.venv-lowest/bin/python -m pytest -m "not slow" $(LOWEST)

.venv-lowest/installed: setup.py constraints/lowest.txt
	$(PYTHON) -m venv .venv-lowest
	.venv-lowest/bin/python -m pip install --quiet --disable-pip-version-check \
	  --constraint constraints/lowest.txt -e ".[itk]" opencv-python-headless \
	  pytest pytest-xdist hypothesis
	touch $@

# The notebooks with the versions of Colab.
test-colab: .venv-colab/installed
	.venv-colab/bin/python -m pytest tests/colab

.venv-colab/installed: setup.py constraints/colab.txt
	$(PYTHON) -m venv .venv-colab
	.venv-colab/bin/python -m pip install --quiet --disable-pip-version-check \
	  --constraint constraints/colab.txt -e ".[notebooks]" opencv-python-headless \
	  pytest pytest-xdist hypothesis
	touch $@

# The tests that need Apache Beam and TensorFlow Datasets. Beam needs a protobuf below 7, so
# both have an environment of their own, which sees the packages of .venv behind its own.
test-beam: .venv-beam/installed
	.venv-beam/bin/python -m pytest tests/pipelines tests/data/test_data_tfds.py

.venv-beam/installed: .venv/installed
	$(PYTHON) -m venv .venv-beam
	$(BIN)/python -c "import sysconfig; \
	  print('import site; site.addsitedir(%r)' % sysconfig.get_path('purelib'))" > \
	  "$$(.venv-beam/bin/python -c "import sysconfig; print(sysconfig.get_path('purelib'))")/behind.pth"
	.venv-beam/bin/python -m pip install --quiet --disable-pip-version-check -e ".[beam,tfds]"
	touch $@

# Sdist and wheel, installed and used outside of the repository.
package: .venv/installed
	$(BIN)/python tools/check_package.py

# The site in build/docs; a warning is an error.
docs: export NO_MKDOCS_2_WARNING = 1
docs: .venv/installed
	$(BIN)/mkdocs build --quiet --strict

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

# Commands killed at random moments and started again: half an hour or so for 50 each.
KILLS ?= 50
kills: .venv/installed
	$(BIN)/python -m pytest tests/test_random_kills.py tests/node/test_node_kills.py \
	  -k random_moments --kills $(KILLS)

# Broken inputs of each kind, an hour or so; what they find is kept in fuzz-findings/.
INPUTS ?= 100000
fuzz: .venv/installed
	$(BIN)/python tools/fuzz.py --inputs $(INPUTS)

notebooks: .venv/installed
	$(BIN)/python colab/build.py

clean:
	rm -rf .venv .venv-lowest .venv-colab .venv-beam .venv-torch .venv-ldct build dist *.egg-info demo

.venv/installed: setup.py pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[dev]"
	# Servers without display libraries need OpenCV's headless build.
	$(BIN)/python -c "import cv2" 2>/dev/null || ( \
	  $(BIN)/python -m pip uninstall --quiet --yes opencv-python && \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check opencv-python-headless )
	touch $@
