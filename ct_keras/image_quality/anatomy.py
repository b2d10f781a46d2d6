"""The head, recognised by its skull: headers often do not name the body part."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import cv2
import numpy as np

from ct_keras.metrics.tissues import body_mask

#: Bone of a skull, after smoothing over `_SMOOTHING_MM`.
_BONE_HU = 250.0
_SMOOTHING_MM = 3.0
#: The skull lies at most this deep under the skin.
_DEPTH_MM = 25.0
#: Directions from the centre in which bone is looked for, and the share that a skull
#: fills. Ribs, arms and a pelvis fill less.
_DIRECTIONS = 90
_CLOSED = 0.85
#: A head is not wider.
_LARGEST_MM = 280.0


def shows_head(slices: Iterable[np.ndarray], spacing_mm: Sequence[float]) -> bool:
    """Tells whether most slices show a closed ring of bone right under the skin.

    Args:
        slices: (rows, columns), HU.
        spacing_mm: Row and column spacing; NaN if unknown, which is never a head.

    Returns:
        Whether it is a head. False for a neck, a jaw or the top of the skull alone.
    """
    found = [bool(skull_share(hu, spacing_mm) >= _CLOSED) for hu in slices]
    return 2 * sum(found) > len(found)


def skull_share(hu: np.ndarray, spacing_mm: Sequence[float]) -> float:
    """Returns the share of directions in which bone lies right under the skin.

    Args:
        hu: (rows, columns), HU.
        spacing_mm: Row and column spacing.

    Returns:
        0 to 1; 0 if there is no body, or it is larger than a head.
    """
    body = body_mask(hu)
    if not body.any() or not np.all(np.isfinite(spacing_mm)):
        return 0.0
    rows, columns = np.nonzero(body)
    sides_mm = np.ptp(rows) * spacing_mm[0], np.ptp(columns) * spacing_mm[1]
    if max(sides_mm) > _LARGEST_MM:
        return 0.0
    return float(np.mean(_bone_by_direction(hu, body, spacing_mm)))


def _bone_by_direction(
    hu: np.ndarray, body: np.ndarray, spacing_mm: Sequence[float]
) -> np.ndarray:
    """Whether bone lies under the skin, for each direction from the centre."""
    pixels = [max(1, round(_SMOOTHING_MM / mm)) for mm in spacing_mm]
    smooth = cv2.blur(np.asarray(hu, np.float32), (pixels[1], pixels[0]))
    step_mm = min(spacing_mm)
    reach_mm = np.arange(0, _LARGEST_MM, step_mm)
    angles = np.linspace(0, 2 * np.pi, _DIRECTIONS, endpoint=False)
    row, column = (float(np.mean(places)) for places in np.nonzero(body))
    rows = row + np.outer(np.sin(angles), reach_mm) / spacing_mm[0]
    columns = column + np.outer(np.cos(angles), reach_mm) / spacing_mm[1]

    def along_rays(mask: np.ndarray) -> np.ndarray:
        maps = columns.astype(np.float32), rows.astype(np.float32)
        return cv2.remap(mask.astype(np.uint8), *maps, cv2.INTER_NEAREST) > 0

    inside, bone = along_rays(body), along_rays(smooth > _BONE_HU)
    skin = inside.shape[1] - 1 - np.argmax(inside[:, ::-1], axis=1)
    depth = skin[:, None] - np.arange(inside.shape[1])
    below_skin = (depth >= 0) & (depth * step_mm <= _DEPTH_MM)
    return (bone & inside & below_skin).any(axis=1)
