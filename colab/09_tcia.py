# %% [markdown]
# # Training on LDCT-and-Projection-data of The Cancer Imaging Archive
#
# [LDCT-and-Projection-data](https://doi.org/10.7937/9npb-2637) ([Moen et al. 2021](https://doi.org/10.1002/mp.14594)) has scans of many
# patients at full dose, and the same scans with the noise of a lower dose added by the maker of the scanner: chest at 10 %, abdomen and head at 25 %.
# From the download to a network that is evaluated by body region, step by step.
#
# Without the download, phantom patients are written into folders of the same structure, so that the notebook runs anywhere.
# Takes about a minute on two CPU cores; a GPU is needed for the real collection only.
#
# > Research use only. Not for diagnostic use.

# %% cellView="form"
# @title Install ct_keras
# Does nothing if ct_keras is installed. Otherwise installs it from SOURCE: the folder of
# a checkout or "git+https://..." (ct_keras is not on PyPI yet).
SOURCE = ".."  # @param {type:"string"}
KEEP = ("tensorflow", "keras", "numpy", "protobuf")

import importlib.metadata
import importlib.util
import subprocess
import sys
import tempfile
from pathlib import Path

if importlib.util.find_spec("ct_keras") is None:
    # Keeps Colab's versions of these packages.
    installed = {package.name: package.version for package in importlib.metadata.distributions()}
    constraints = Path(tempfile.mkdtemp()) / "keep.txt"
    lines = [f"{name}=={installed[name]}\n" for name in KEEP if name in installed]
    constraints.write_text("".join(lines))
    command = [sys.executable, "-m", "pip", "install", "--quiet"]
    subprocess.run([*command, "--constraint", str(constraints), SOURCE], check=True)
# %%
GPU = False  # @param {type:"boolean"}

import os

import matplotlib.pyplot as plt
import numpy as np

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
stderr, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
os.dup2(nowhere, 2)  # hides the start-up messages of TensorFlow
import keras
import tensorflow as tf

has_gpu = bool(tf.config.list_physical_devices("GPU"))
os.dup2(stderr, 2)

import ct_keras
from ct_keras import hu

keras.utils.set_random_seed(1)
print(f"ct_keras {ct_keras.__version__}, TensorFlow {tf.__version__}, Keras {keras.__version__}")
if GPU and not has_gpu:
    print("No GPU here: with GPU = True this notebook will take hours.")
# %% cellView="form"
# @title Plotting: all panels use one window, named in the title
plt.rcParams.update({"figure.dpi": 100, "font.size": 9, "axes.titlesize": 9})


def show(panels, heading="", window=hu.ABDOMEN, zoom=None):
    """Shows images in HU; `zoom` (row, column, size) adds a row of details."""
    rows = 1 if zoom is None else 2
    size = (2.5 * len(panels), 2.7 * rows + 0.4)
    figure, axes = plt.subplots(
        rows, len(panels), figsize=size, squeeze=False, layout="constrained"
    )
    limits = {"cmap": "gray", "vmin": window.low, "vmax": window.high}
    for column, (title, image) in enumerate(panels.items()):
        axes[0, column].imshow(image, **limits)
        axes[0, column].set_title(title)
        if zoom is not None:
            top, left, side = zoom
            box = plt.Rectangle((left, top), side, side, fill=False, color="yellow")
            axes[0, column].add_patch(box)
            axes[1, column].imshow(image[top : top + side, left : left + side], **limits)
    for axis in axes.flat:
        axis.set_axis_off()
    figure.suptitle(f"{heading}\n{window}: {window.low:g} to {window.high:g} HU", fontsize=10)
    plt.show()


def show_errors(panels, reference, limit=60):
    """Shows image minus reference in HU, all with one symmetric range."""
    size = (2.5 * len(panels), 2.9)
    figure, axes = plt.subplots(1, len(panels), figsize=size, squeeze=False, layout="constrained")
    for axis, (title, image) in zip(axes.flat, panels.items(), strict=True):
        picture = axis.imshow(image - reference, "RdBu_r", vmin=-limit, vmax=limit)
        error = np.sqrt(np.mean((image - reference) ** 2))
        axis.set_title(f"{title}\nRMSE {error:.1f} HU")
        axis.set_axis_off()
    figure.colorbar(picture, ax=axes, label="error, HU", shrink=0.8)
    plt.show()


# %% [markdown]
# ## 1. The collection
#
# Imaging Data Commons hosts its chest and abdomen cases under CC BY 4.0, without an account: name the authors where you publish.
# The command line downloads everything, `pip install idc-index`, then `idc download ldct_and_projection_data`: 38 GB of images and 820 GB of
# raw projections, which are not needed here. So the cell chooses: the images of patients who have both doses (100 patients, 27 GB),
# and of these a few of each region. The folders are the same: patient, study UID, series UID.

# %%
DOWNLOAD = False  # @param {type:"boolean"}
PATIENTS_PER_REGION = 8  # @param {type:"integer"}

SCANS = Path("ct_keras_work/ldct_and_projection_data")
if DOWNLOAD:
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "idc-index"], check=True)
    from idc_index import IDCClient

    client = IDCClient()
    series = client.index[client.index["collection_id"] == "ldct_and_projection_data"]
    series = series[series["SeriesDescription"].isin(["Full Dose Images", "Low Dose Images"])]
    series = series[series.groupby("PatientID")["SeriesDescription"].transform("nunique") == 2]
    patients = sorted(series["PatientID"].unique())
    few = [name for region in "CL" for name in [p for p in patients if p[0] == region][:PATIENTS_PER_REGION]]
    series = series[series["PatientID"].isin(few)]
    size, licences = series["series_size_MB"].sum() / 1000, set(series["license_short_name"])
    print(f"{len(few)} patients, {len(series)} series, {size:.1f} GB, {', '.join(licences)}")
    client.download_from_selection(
        downloadDir=str(SCANS.parent), seriesInstanceUID=list(series["SeriesInstanceUID"])
    )

# %% [markdown]
# Without the download: a phantom for each patient, with the noise of both doses, in the same folders.

# %%
import shutil

from ct_keras.dicom import create_series, find_series
from ct_keras.phantoms import make_phantom, phantom_scanner
from ct_keras.progress import track

REGIONS = {"C": ("thorax", "CHEST", 0.1), "L": ("abdomen", "ABDOMEN", 0.25)}
NAMES = {"C": ("C001", "C002", "C003"), "L": ("L004", "L005", "L006")}
SHAPE = (16, 512, 512) if GPU else (3, 128, 128)
SPACING_MM = (5.0, 380 / SHAPE[1], 380 / SHAPE[2])


def write_patient(patient, folder):
    """Writes a full and a low dose series: patient / study UID / series UID."""
    region, body_part, low = REGIONS[patient[0]]
    phantom = make_phantom(int(patient[1:]), region=region, shape=SHAPE, spacing_mm=SPACING_MM)
    scanner = phantom_scanner(phantom)
    made = folder.parent / "made"
    for name, dose in (("Full", 1.0), ("Low", low)):
        images = [
            scanner.low_dose(plane, dose, seed=int(patient[1:]), slice_index=index)
            for index, plane in enumerate(phantom.hu)
        ]
        create_series(
            np.stack(images), SPACING_MM, made, patient_id=patient, seed_uid=patient,
            series_description=f"{name} Dose Images", kernel="B30f", body_part=body_part,
        )  # fmt: skip
        header = ct_keras.read_series(made).header
        target = folder / patient / header.StudyInstanceUID / header.SeriesInstanceUID
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(made, target)


if not DOWNLOAD:
    shutil.rmtree(SCANS, ignore_errors=True)
    for patient in track((*NAMES["C"], *NAMES["L"]), "Phantoms"):
        write_patient(patient, SCANS)

for series in list(find_series(SCANS))[:4]:
    patient, study, uid = Path(series.sources[0].path).relative_to(SCANS).parts[:3]
    print(f"{patient}/...{study[-6:]}/...{uid[-6:]}  {series.header.SeriesDescription}, {len(series)} slices")

# %% [markdown]
# ## 2. Records
#
# `convert` recognises the full and the low dose series of a patient by their descriptions, pairs their slices by position, and takes the dose from
# the first letter of the patient's number. The split is by patient: slices of one patient are alike, so a split by slice would test on what was trained.
# The command is `ct-keras convert ldct_and_projection_data RECORDS --layout tcia --split 0.7,0.15,0.15`.

# %%
WORK = Path("ct_keras_work")
key = WORK / "hash.key"  # patients are named in the records by a keyed hash
key.write_text("any secret of yours")
patients = {region: sorted(path.name for path in SCANS.glob(f"{region}*")) for region in REGIONS}
split = {"train": [], "val": [], "test": []}  # both regions in each
for names in patients.values():
    held = max(1, len(names) // 6)
    split["test"] += names[-held:]
    split["val"] += names[-2 * held : -held]
    split["train"] += names[: -2 * held]
manifest = ct_keras.data.convert(
    SCANS, WORK / "tcia_records", layout="tcia", split=split, hash_key_file=key,
    overwrite=True, workers=1, progress=True,
)  # fmt: skip
print(manifest.splits)
pairs = {name: list(ct_keras.data.iterate_pairs(WORK / "tcia_records", name)) for name in split}
for name, found in pairs.items():
    print(f"{name:6}{len(found):4} slices, doses {sorted({pair.dose_fraction for pair in found})}")
    assert {pair.dose_fraction for pair in found} == {0.1, 0.25}

# %%
SHOWN = {}
for pair in pairs["test"]:
    SHOWN.setdefault(pair.body_part, pair)
for part, pair in SHOWN.items():
    window = hu.LUNG if part == "chest" else hu.ABDOMEN
    dose = f"{pair.dose_fraction:.0%}"
    zoom = (pair.low_hu.shape[0] * 2 // 5, pair.low_hu.shape[1] // 4, pair.low_hu.shape[0] // 4)
    show({"full dose": pair.full_hu, f"low dose, {dose}": pair.low_hu}, f"{part}, a patient of the test split", window, zoom)
    print(f"{part}: the low dose differs from the full dose by {np.std(pair.low_hu - pair.full_hu):.0f} HU (SD)")

# %% [markdown]
# The chest has less than half the dose of the abdomen, but its lungs attenuate less, so the noise of both is about the same here. Its
# contrasts are not: one network must serve both, so it is trained on both.
#
# ## 3. Training
#
# RED-CNN on patches of both regions. `GPU = True` trains for longer; for the real collection use `ct-keras train red_cnn RECORDS --recipe report`.

# %%
from ct_keras.training import train

LENGTH = {"epochs": 30, "steps": 250} if GPU else {"epochs": 4, "steps": 25}
shutil.rmtree(WORK / "tcia_run", ignore_errors=True)
result = train(
    "red_cnn", WORK / "tcia_records", out=WORK / "tcia_run", recipe="quick", validation_slices=6,
    options={"width": 32 if GPU else 16}, progress=True, **LENGTH,
)  # fmt: skip
print(f"validation: input {result.untreated.psnr:.2f} dB, best {result.best['val_psnr']:.2f} dB")
assert result.better_than_input

# %%
import csv

with open(WORK / "tcia_run" / "history.csv") as lines:
    history = list(csv.DictReader(lines))
plt.figure(figsize=(5, 3), layout="constrained")
plt.plot([int(row["epoch"]) for row in history], [float(row["val_psnr"]) for row in history], "o-")
plt.axhline(result.untreated.psnr, color="gray", linestyle="--", label="low-dose input")
plt.xlabel("epoch")
plt.ylabel("validation PSNR, dB\n[-160, 240] HU, range 400")
plt.legend()
plt.show()

# %% [markdown]
# ## 4. Evaluation by body region
#
# Chest and abdomen have different doses, so their numbers stand apart: a mean over both would hide a network that serves one region only.
# The filter beside the network is tuned on the validation patients. `ct-keras evaluate RUN filter:gaussian input --records RECORDS --out EVAL` writes
# the same comparison with all measures and intervals over patients.

# %%
denoiser = ct_keras.load(WORK / "tcia_run")
gaussian = ct_keras.filters.tune(ct_keras.filters.get("gaussian"), pairs["val"])
methods = {"low dose": None, "gaussian, tuned": gaussian, "RED-CNN": denoiser}
errors = {}
print(f"{'region':10}{'method':18}{'PSNR dB':>9}{'SSIM':>8}{'RMSE HU':>9}   protocol report, [-160, 240] HU")
for part in SHOWN:
    chosen = [pair for pair in pairs["test"] if pair.body_part == part]
    low, full = (np.stack([getattr(pair, name) for pair in chosen]) for name in ("low_hu", "full_hu"))
    for name, method in methods.items():
        found = ct_keras.evaluate(low if method is None else method(low), full)
        errors[part, name] = found["rmse_hu"]
        print(f"{part:10}{name:18}{found['psnr']:9.2f}{found['ssim']:8.4f}{found['rmse_hu']:9.2f}")
assert all(errors[part, "RED-CNN"] < errors[part, "low dose"] for part in SHOWN)

# %% [markdown]
# The filter loses to its input here: with the large pixels of these phantoms, blurred edges of skin, bone and table cost more than the noise.
# On scans with pixels below 1 mm it gains; the table in `benchmarks/README.md` has both for every filter and network.
#
# ## 5. A series before and after
#
# The low dose series of a test patient is denoised as a DICOM series. The full dose series of the same patient is what it should look like,
# apart from the noise of that scan, which no method can reproduce.

# %%
from ct_keras.serving.series import denoise_series

patient = split["test"][0]
found = {series.header.SeriesDescription: series for series in find_series(SCANS / patient)}
low = next(series for name, series in found.items() if "low" in name.lower())
full = next(series for name, series in found.items() if "full" in name.lower())
done = denoise_series(low, WORK / "tcia_denoised", denoiser, overwrite=True)
denoised = ct_keras.read_series(WORK / "tcia_denoised")
middle = len(low) // 2
side = low.shape[1]
before, after, reference = (series.read(middle).hu for series in (low, denoised, full))
zoom = (side * 2 // 5, side // 4, side // 4)
panels = {"low dose": before, "denoised": after, "full dose": reference}
show(panels, f"{patient}, before and after", hu.ABDOMEN, zoom)
show(panels, f"{patient}, before and after", hu.LUNG, zoom)
show_errors({"low dose": before, "denoised": after}, reference)
assert denoised.header.SeriesInstanceUID != low.header.SeriesInstanceUID
assert np.std(after - reference) < np.std(before - reference)

# %% [markdown]
# Edges that are seen in the error map were removed with the noise. After so short a training some are; the longer trained published networks
# (`ct-keras models`) remove fewer.
#
# ## Summary
#
# - The download is used as it is: folders by patient, study and series, doses by the patient's number, `--layout tcia`.
# - Split by patient, and read the regions apart.
# - *Try:* `DOWNLOAD = True` with `GPU = True`; more patients; `ct-keras quality` on the trained network.
