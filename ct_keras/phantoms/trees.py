"""Branching vessels: trees grown through an organ, and rods along given paths."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ct_keras.phantoms.shapes import Tubes
from ct_keras.phantoms.waves import Deformation

_TORTUOSITY = 0.07  # sideways bend of a branch as a share of its length


def points_in(
    rng: np.random.Generator,
    distance: Callable[..., np.ndarray],
    box: Sequence[tuple[float, float]],
    *,
    count: int,
    depth_mm: float,
) -> np.ndarray:
    """Draws points inside a shape.

    Args:
        rng: Random generator.
        distance: The shape, called with x, y, z.
        box: Range of x, y and z to search.
        count: Maximum number of points.
        depth_mm: Minimum depth below the surface.

    Returns:
        (points, 3) in mm; fewer than `count` if the shape fills little of the box.
    """
    low, high = np.array(box, float).T
    points = rng.uniform(low, high, (count * 6, 3))
    inside = distance(*points.T) < -depth_mm
    return points[inside][:count]


def grow_tree(
    rng: np.random.Generator,
    root: Sequence[float],
    targets: np.ndarray,
    *,
    leaf_radius_mm: float,
    exponent: float = 2.7,
    detour: float = 0.35,
) -> tuple[np.ndarray, np.ndarray]:
    """Connects points to a tree whose branches thicken towards the root.

    Points are added in order of their distance from the root. Each is attached to the
    node with the least distance plus `detour` times the path from there to the root. A
    branch's radius follows Murray's law from the number of end points that it feeds.

    Args:
        rng: Random generator for the bends of the branches.
        root: Where the tree starts, mm.
        targets: Points (n, 3) to reach, mm.
        leaf_radius_mm: Radius of the terminal branches.
        exponent: Exponent of Murray's law; 3 in theory, less in measured lungs.
        detour: Weight of the path to the root.

    Returns:
        Points (n, 3, 3) start, bend, end of each branch, and radii (n, 2) at its
        start and end.

    Reference:
        Murray CD, The physiological principle of minimum work, PNAS 12 (1926) 207,
        doi 10.1073/pnas.12.3.207.
    """
    root = np.asarray(root, float)
    order = np.argsort(np.linalg.norm(targets - root, axis=1), kind="stable")
    nodes = np.concatenate([root[None], targets[order]])
    way = np.zeros(len(nodes))
    parents = np.zeros(len(nodes), int)
    for i in range(1, len(nodes)):
        gap = np.sqrt(((nodes[:i] - nodes[i]) ** 2).sum(axis=1))
        parents[i] = np.argmin(gap + detour * way[:i])
        way[i] = way[parents[i]] + gap[parents[i]]
    ends = np.ones(len(nodes))
    for i in range(len(nodes) - 1, 0, -1):
        ends[parents[i]] += ends[i]
    radius = leaf_radius_mm * ends ** (1 / exponent)
    start, end = nodes[parents[1:]], nodes[1:]
    length = np.linalg.norm(end - start, axis=1, keepdims=True)
    bend = (start + end) / 2 + _TORTUOSITY * length * rng.standard_normal(start.shape)
    begin = np.minimum(radius[parents[1:]], 1.25 * radius[1:])
    return np.stack([start, bend, end], 1), np.stack([begin, radius[1:]], 1)


def tree_tubes(
    deformation: Deformation, branches: np.ndarray, radii: np.ndarray
) -> Tubes:
    """Converts the branches of `grow_tree` to rods in scanner coordinates."""
    points = deformation.to_scanner(branches)
    middle = radii.mean(axis=1)
    return Tubes(
        np.concatenate([points[:, 0], points[:, 1]]),
        np.concatenate([points[:, 1], points[:, 2]]),
        np.concatenate([radii[:, 0], middle]),
        np.concatenate([middle, radii[:, 1]]),
    )


def path_tubes(
    deformation: Deformation,
    points: Sequence[Sequence[float]],
    radii: Sequence[float] | float,
    *,
    fine: int = 4,
    z_scale: float = 1.0,
) -> Tubes:
    """Rods along a smooth curve through points.

    Args:
        deformation: Maps the model to scanner coordinates.
        points: Model points (n, 3) in mm.
        radii: One radius in mm, or one per point.
        fine: Rods per pair of points; 1 keeps the corners.
        z_scale: See `Tubes`.
    """
    points = np.asarray(points, float)
    radii = np.broadcast_to(np.asarray(radii, float), len(points))
    if fine > 1:
        points, radii = _smooth(points, fine), _linear(radii, fine)
    points = deformation.to_scanner(points) * (1.0, 1.0, z_scale)
    return Tubes(points[:-1], points[1:], radii[:-1], radii[1:], z_scale)


def join(tubes: Sequence[Tubes]) -> Tubes:
    """Concatenates rods of the same `z_scale`."""
    names = ("start", "end", "start_radius", "end_radius")
    parts = [np.concatenate([getattr(t, name) for t in tubes]) for name in names]
    return Tubes(*parts, z_scale=tubes[0].z_scale)


def thinner(tubes: Tubes, by_mm: float, shift: Sequence[float] = (0, 0, 0)) -> Tubes:
    """The same rods with smaller radii, moved by a shift (scanner mm)."""
    return Tubes(
        tubes.start + shift,
        tubes.end + shift,
        np.maximum(tubes.start_radius - by_mm, 0.1),
        np.maximum(tubes.end_radius - by_mm, 0.1),
        tubes.z_scale,
    )


def _linear(values: np.ndarray, fine: int) -> np.ndarray:
    places = np.linspace(0, len(values) - 1, fine * (len(values) - 1) + 1)
    return np.interp(places, np.arange(len(values)), values)


def _smooth(points: np.ndarray, fine: int) -> np.ndarray:
    """A Catmull-Rom curve through points (n, 3)."""
    padded = np.concatenate(
        [2 * points[:1] - points[1:2], points, 2 * points[-1:] - points[-2:-1]]
    )
    share = (np.arange(fine) / fine)[:, None]
    pieces = []
    for i in range(len(points) - 1):
        a, b, c, d = padded[i : i + 4]
        cubic = -a + 3 * b - 3 * c + d
        square = 2 * a - 5 * b + 4 * c - d
        pieces.append(
            0.5 * (2 * b + (c - a) * share + square * share**2 + cubic * share**3)
        )
    return np.concatenate([*pieces, points[-1:]])
