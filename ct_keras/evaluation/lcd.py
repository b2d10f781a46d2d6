"""The channelised Hotelling observer on LCD-CT images, for many methods."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from ct_keras.denoising.method import Method
from ct_keras.denoising.methods import as_method
from ct_keras.image_quality.channels import CHANNELS, get_channels
from ct_keras.image_quality.cho import ObserverResult, cho
from ct_keras.image_quality.lcd_ct import LcdInsert, LcdStudy
from ct_keras.image_quality.records import observer_record, plain
from ct_keras.progress import track


def measure_lcd(
    methods: Mapping[str, Method | Callable[[np.ndarray], np.ndarray]],
    study: LcdStudy,
    *,
    channels: tuple[str, ...] = CHANNELS[:1],
    seed: int = 0,
    progress: bool = False,
) -> list[dict]:
    """Runs the channelised Hotelling observer on LCD-CT images of every method.

    Args:
        methods: Name -> method, or what `ct_keras.denoising.as_method` makes one of;
            the others are compared with the first. Images are denoised one at a time.
        study: From `ct_keras.image_quality.read_lcd_ct`.
        channels: Names for `get_channels`.
        seed: Seed of the observer.
        progress: Whether to show a progress bar.

    Returns:
        One record for each method, dose, insert and set of channels: ``contrast_hu``
        and ``diameter_pixels`` of the insert, ``auc``, ``auc_interval``, ``dprime``,
        ``dprime_interval``, and the ``auc_difference`` to the first method with its
        interval.
    """
    records = []
    methods = {label: as_method(method) for label, method in methods.items()}
    for dose in sorted(study.present):
        first: dict[tuple, ObserverResult] = {}
        stacks = study.present[dose], study.absent[dose]
        for label, method in methods.items():
            present, absent = (
                np.stack(
                    [
                        method.denoise_image(image, study.spacing_mm)
                        for image in track(stack, label, enabled=progress)
                    ]
                )
                for stack in stacks
            )
            for title, insert in zip(study.names, study.inserts, strict=True):
                regions = study.regions(insert, present, absent)
                for name in channels:
                    found = _observe(regions, insert, name, seed)
                    head = {
                        "method": label,
                        "dose": dose,
                        "insert": title,
                        "contrast_hu": insert.contrast_hu,
                        "diameter_pixels": insert.diameter,
                        "channels": name,
                    }
                    base = first.setdefault((title, name), found)
                    records.append(plain(head | observer_record(found, base)))
    return records


def _observe(regions, insert: LcdInsert, channels: str, seed: int) -> ObserverResult:
    size = regions[0].shape[-1]
    shapes = get_channels(channels, size, diameter=insert.diameter)
    return cho(*regions, shapes, seed=seed)
