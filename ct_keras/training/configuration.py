"""config.json of a run: what determines its result, and whether it can go on."""

from __future__ import annotations

import json
import zlib
from dataclasses import fields
from pathlib import Path

import keras

import ct_keras
from ct_keras.data.manifest import MANIFEST
from ct_keras.errors import CtKerasError
from ct_keras.files import read_document, sha256_of
from ct_keras.models import ModelSpec, Recipe


def configuration(
    spec: ModelSpec,
    recipe: Recipe,
    records: str | Path,
    seed: int,
    validation_slices: int,
) -> dict:
    """Everything that determines the result; files by name and hash, not by path."""
    plain = recipe.to_plain()
    plain["training"] = {key: _named(value) for key, value in plain["training"].items()}
    return {
        "model": spec.name,
        "recipe": plain,
        "seed": seed,
        "validation_slices": validation_slices,
        "manifest_sha256": sha256_of(Path(records) / MANIFEST),
        "versions": {
            "ct_keras": ct_keras.__version__,
            "keras": keras.__version__,
            "backend": keras.backend.backend(),
        },
    }


def _named(value):
    """Returns a setting for config.json: a file by its name and hash."""
    if isinstance(value, str | Path) and Path(value).is_file():
        return f"{Path(value).name} (sha256 {sha256_of(Path(value))})"
    return value


def can_resume(run: Path, config: dict) -> bool:
    """Whether there is a run to resume; refuses one with different settings."""
    path = run / "config.json"
    if not path.is_file():
        return False
    try:
        before = _settings(read_document(path))
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise CtKerasError(
            "CTK-E087",
            "the settings of the run to resume are damaged",
            received=path.name,
            fix="train into a new folder",
        ) from error
    config = _settings(json.loads(json.dumps(config)))
    # A run that an older version began lacks the settings that came later.
    defaults = {f"recipe.{each.name}": each.default for each in fields(Recipe)}
    defaults |= {"workers": 1}
    different = [
        key for key in config if config[key] != before.get(key, defaults.get(key))
    ]
    if different:
        raise CtKerasError(
            "CTK-E087",
            "the run to resume was started with different settings",
            received=", ".join(different),
            fix="repeat the options and records of the first call, or train into a new "
            "folder",
        )
    return True


def _settings(config: dict) -> dict:
    """Flattens a configuration ("recipe.epochs") and drops the description."""
    recipe = {f"recipe.{key}": value for key, value in config["recipe"].items()}
    del recipe["recipe.description"]
    return {key: value for key, value in config.items() if key != "recipe"} | recipe


def checksum(config: dict) -> int:
    """Returns a number by which workers compare their settings."""
    return zlib.crc32(json.dumps(config, sort_keys=True).encode())
