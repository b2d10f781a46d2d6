"""Metadata of ct_keras: version, dependencies, extras and the entry point."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = re.search(
    r'^__version__ = "(.+)"$', (HERE / "ct_keras/__init__.py").read_text(), re.M
).group(1)

# Decoders of compressed DICOM; pylibjpeg-libjpeg is left out, as it is under the GPL.
CODECS = [
    *("pylibjpeg>=2.1", "pylibjpeg-openjpeg>=2.6", "pylibjpeg-rle>=2.2"),
    *("pyjpegls>=1.5", "python-gdcm>=3.2.6"),
]
JAX = ["jax>=0.5"]
ONNX = ["tf2onnx>=1.17", "onnxruntime>=1.19"]
OPENVINO = ["tf2onnx>=1.17", "openvino>=2024.6"]
LITERT = ["ai-edge-litert>=2.0"]
PACS = ["pynetdicom>=3.0.4"]
# Not among the test requirements: it needs protobuf below 7, and would lower it.
BEAM = ["apache-beam>=2.60"]
ITK = ["SimpleITK>=2.4"]
TFDS = ["tensorflow-datasets>=4.9.8"]
EXPORTS = [*ONNX, *OPENVINO, *LITERT]
NOTEBOOKS = ["jupytext>=1.16", "nbclient>=0.10", "ipykernel>=6.29"]
# Material for MkDocs is supported until May 2027; CONTRIBUTING.md says what then.
DOCS = ["mkdocs>=1.6,<2", "mkdocs-material>=9.6,<10", "mkdocstrings[python]>=1,<2"]
TEST = [
    *(*JAX, *NOTEBOOKS, *EXPORTS, *PACS, *ITK),
    *("pytest>=8", "pytest-xdist>=3.6", "hypothesis>=6.100", "PyYAML"),
    "highdicom>=0.27",
]

setup(
    name="ct_keras",
    version=VERSION,
    description="Low-dose CT denoising: the Keras model zoo and everything around it",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    author="The ct_keras developers",
    python_requires=">=3.11",
    packages=[
        *find_packages(include=["ct_keras", "ct_keras.*"]),
        "ct_keras.saved_models",
    ],
    # The published weights live at the top level and install with the package.
    package_dir={"ct_keras.saved_models": "saved_models"},
    package_data={
        "ct_keras": ["py.typed", "*/templates/*"],
        "ct_keras.saved_models": [
            "*/*.keras",
            "*/metadata.json",
            "*/README.md",
            "*/golden.npz",
            "*/SHA256SUMS",
        ],
    },
    install_requires=[
        "tensorflow>=2.18",
        "tensorboard>=2.18",
        "keras>=3.12,<4",
        "numpy>=2.0",
        "pydicom>=3.0.2,<4",
        "nibabel>=5.2",
        *CODECS,
        "opencv-python>=4.10",
        "PyWavelets>=1.6",
        "scikit-image>=0.24",
        "scikit-learn>=1.5",
        "scipy>=1.13",
        "threadpoolctl>=3.1",
        "tifffile>=2023.1.23",
        "click>=8.1",
        "rich>=13",
        "matplotlib>=3.9",
        "jinja2>=3.1",
    ],
    extras_require={
        "codecs": [],  # now installed by default; old commands still name it
        "jax": JAX,
        "onnx": ONNX,
        "openvino": OPENVINO,
        "itk": ITK,
        "litert": LITERT,
        "tfds": TFDS,
        "exports": EXPORTS,
        "pacs": PACS,
        "beam": BEAM,
        "notebooks": NOTEBOOKS,
        "test": TEST,
        "docs": DOCS,
        "dev": [*TEST, *DOCS, "build>=1.2", "ruff>=0.6", "pre-commit"],
    },
    entry_points={"console_scripts": ["ct-keras = ct_keras.cli.main:main"]},
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Intended Audience :: Science/Research",
        "Programming Language :: Python :: 3 :: Only",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Medical Science Apps.",
    ],
)
