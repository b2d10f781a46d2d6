"""Atomic checkpoints with the complete training state.

A checkpoint is a folder ``ckpt-00012`` with ``arrays.npz`` (every variable of the model
and of its optimisers) and ``state.json`` (epoch, history, best value, SHA-256 of the
arrays). It is written under a temporary name and renamed, and read only if its hash
matches, so an interruption or a disk error costs one epoch and not the run.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import keras
import numpy as np

from ct_keras.errors import CtKerasError, Finding
from ct_keras.files import atomic_folder, read_document, sha256_of

KEPT = 3


def training_variables(model: keras.Model) -> dict[str, keras.Variable]:
    """Names every variable of the training state.

    These are weights, moving statistics and seed states of the model, and the state of
    every optimiser among its attributes.
    """
    variables = {}
    measured = {id(variable) for variable in model.metrics_variables}
    state = [v for v in model.variables if id(v) not in measured]
    for index, variable in enumerate(state):
        # Not by path: the numbering of seed generators differs between processes.
        variables[f"model/{index:04d}/{variable.name}"] = variable
    optimizers = {
        name: value
        for name, value in vars(model).items()
        if isinstance(value, keras.optimizers.Optimizer)
    }
    optimizers.setdefault("optimizer", model.optimizer)
    seen = set()
    for name, optimizer in sorted(optimizers.items()):
        if optimizer is None or id(optimizer) in seen:
            continue
        seen.add(id(optimizer))
        for index, variable in enumerate(optimizer.variables):
            variables[f"{name.strip('_')}/{index:04d}/{variable.name}"] = variable
    return variables


def save_checkpoint(folder: Path, model: keras.Model, state: dict) -> None:
    """Writes the checkpoint of `state["epoch"]` and deletes the oldest ones.

    Raises:
        CtKerasError: CTK-E089, if a weight is not finite (nothing is written);
            CTK-E073, if the disk is full.
    """
    arrays = {
        name: np.asarray(variable)
        for name, variable in training_variables(model).items()
    }
    for name, array in arrays.items():
        if np.issubdtype(array.dtype, np.floating) and not np.isfinite(array).all():
            raise CtKerasError("CTK-E089", "weights are not finite", received=name)
    target = folder / f"ckpt-{state['epoch']:05d}"
    with atomic_folder(target, overwrite=True, kind="checkpoint") as temporary:
        np.savez(temporary / "arrays.npz", **arrays)
        state = state | {"arrays_sha256": sha256_of(temporary / "arrays.npz")}
        (temporary / "state.json").write_text(json.dumps(state, indent=1))
    for old in _checkpoints(folder)[:-KEPT]:
        shutil.rmtree(old, ignore_errors=True)


def latest_state(folder: Path) -> tuple[Path | None, dict, list[Finding]]:
    """Finds the newest intact checkpoint.

    Returns:
        Its folder and state, or (None, {}); and a finding for each damaged checkpoint
        that was skipped.
    """
    findings = []
    for checkpoint in reversed(_checkpoints(folder)):
        try:
            state = read_document(checkpoint / "state.json")
            intact = sha256_of(checkpoint / "arrays.npz") == state["arrays_sha256"]
        except (OSError, ValueError, KeyError, TypeError):
            intact = False
        if intact:
            return checkpoint, state, findings
        text = f"checkpoint {checkpoint.name} is damaged and was skipped"
        findings.append(Finding("CTK-W082", text))
    return None, {}, findings


def restore(checkpoint: Path, model: keras.Model) -> None:
    """Restores every variable of a checkpoint in a compiled, built model.

    Raises:
        CtKerasError: CTK-E087, if the checkpoint belongs to another network.
    """
    variables = training_variables(model)
    with np.load(checkpoint / "arrays.npz") as arrays:
        same = set(arrays.files) == set(variables) and all(
            arrays[name].shape == tuple(variables[name].shape) for name in variables
        )
        if not same:
            raise CtKerasError(
                "CTK-E087",
                "the checkpoint belongs to a different network or optimiser",
                received=f"{len(arrays.files)} arrays",
                expected=f"{len(variables)} arrays with the same names and shapes",
            )
        for name, variable in variables.items():
            variable.assign(arrays[name])


def _checkpoints(folder: Path) -> list[Path]:
    return sorted(folder.glob("ckpt-?????"))
