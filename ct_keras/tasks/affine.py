"""Rotation, shear and scaling of images, with their ground truth, for training."""

from __future__ import annotations

import cv2
import numpy as np

#: Ends of the random changes: degrees, tangent of the shear, and factor minus 1.
ROTATION_DEGREES, SHEAR, SCALING = 10.0, 0.1, 0.1


def random_affine(rng: np.random.Generator) -> np.ndarray:
    """Draws a rotation, a shear and a scaling of each axis.

    Args:
        rng: The generator that gives the numbers.

    Returns:
        float64 (2, 2): from a place relative to the centre, as (column, row), to where
        it is moved.
    """
    turn, shear, *sides = rng.uniform(-1, 1, 4)
    angle = np.deg2rad(ROTATION_DEGREES * turn)
    rotation = np.array(
        [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    )
    sheared = np.array([[1.0, SHEAR * shear], [0.0, 1.0]])
    return rotation @ sheared @ np.diag(1 + SCALING * np.array(sides))


def warp(image: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Moves an image about its centre; its edges are continued outwards.

    Args:
        image: (rows, columns), or (rows, columns, 1); floating point values are
            interpolated, whole numbers are classes and are not.
        matrix: From `random_affine`.

    Returns:
        The same shape and type.
    """
    rows, columns = image.shape[:2]
    centre = np.array([(columns - 1) / 2, (rows - 1) / 2])
    moved = np.column_stack([matrix, centre - matrix @ centre])
    whole = image.dtype.kind in "iu"
    flat = np.ascontiguousarray(image.reshape(rows, columns))
    result = cv2.warpAffine(
        flat,
        moved,
        (columns, rows),
        flags=cv2.INTER_NEAREST if whole else cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return result.reshape(image.shape)
