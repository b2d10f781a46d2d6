"""The tissues of a phantom: label numbers, Hounsfield values and texture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Tissue:
    """The tissue of one label.

    Attributes:
        label: Number in the label volume.
        plain: Mean and patient-to-patient standard deviation without contrast, HU;
            None for lesions, whose HU are drawn individually.
        enhanced: The same in the portal venous phase, or None if unchanged.
        texture: Name of a texture group, or None for a uniform tissue.
        range_hu: Range of the mean HU over the core of the label in any phantom. The
            core is at least 100 voxels whose neighbours (two pixels around, one slice
            up and down) have the same label. None for tissues too thin to have a core.
            Oral contrast medium in stomach and bowel is included.
    """

    label: int
    plain: tuple[float, float] | None
    enhanced: tuple[float, float] | None
    texture: str | None
    range_hu: tuple[float, float] | None


# Chosen by hand within the range usual in clinical CT, without a single source;
# `range_hu` was checked for 60 seeds of both regions.
TISSUES: dict[str, Tissue] = {
    "air": Tissue(0, (-1000, 0), None, None, (-1001, -999)),
    "skin": Tissue(1, (15, 8), None, None, None),
    "fat": Tissue(2, (-104, 4), None, "fat", (-116, -90)),
    "muscle": Tissue(3, (52, 4), (60, 4), "muscle", (37, 71)),
    "lung": Tissue(4, (-850, 20), None, "lung", (-910, -780)),
    "airway": Tissue(5, (-985, 4), None, None, None),
    "lung_vessel": Tissue(6, (40, 3), (150, 15), None, None),
    "heart": Tissue(7, (46, 3), (98, 8), "soft", (36, 118)),
    "blood": Tissue(8, (42, 3), (160, 15), "soft", (32, 194)),
    "aorta": Tissue(9, (42, 3), (168, 16), "soft", (32, 204)),
    "vena_cava": Tissue(10, (42, 3), (145, 14), "soft", (30, 178)),
    "oesophagus": Tissue(11, (38, 4), (55, 5), "soft", (26, 69)),
    "liver": Tissue(12, (57, 5), (108, 9), "soft", (44, 130)),
    "liver_vessel": Tissue(13, (44, 3), (150, 12), "soft", None),
    "spleen": Tissue(14, (49, 3), (118, 8), "soft", (40, 138)),
    "kidney_cortex": Tissue(15, (33, 3), (172, 14), "soft", (23, 204)),
    "kidney_medulla": Tissue(16, (29, 3), (140, 14), "soft", (19, 172)),
    "stomach": Tissue(17, (30, 5), (42, 6), "soft", (-15, 200)),
    "bowel": Tissue(18, (26, 8), (45, 10), "soft", (-70, 200)),
    "gas": Tissue(19, (-970, 10), None, None, (-995, -940)),
    "gallbladder": Tissue(20, (8, 4), None, "soft", (-5, 22)),
    "pancreas": Tissue(21, (40, 4), (88, 8), "soft", (28, 108)),
    "cortical_bone": Tissue(22, (950, 90), None, "bone", None),
    "trabecular_bone": Tissue(23, (190, 35), None, "bone", (20, 330)),
    "disc": Tissue(24, (85, 8), None, "soft", None),
    "spinal_canal": Tissue(25, (26, 4), None, "soft", (14, 38)),
    "cartilage": Tissue(26, (105, 12), None, "soft", (75, 135)),
    "vessel": Tissue(27, (42, 3), (150, 14), "soft", (32, 184)),
    "gland": Tissue(28, (28, 6), None, "muscle", (9, 46)),
    "table": Tissue(29, (150, 40), None, None, (-945, -920)),
    "liver_lesion": Tissue(30, None, None, "soft", None),
    "lung_nodule": Tissue(31, None, None, None, None),
    "adrenal": Tissue(32, (35, 3), (70, 6), "soft", None),
}

#: Tissue name -> its number in a phantom's label volume. 0 is air around the patient.
LABELS: dict[str, int] = {name: tissue.label for name, tissue in TISSUES.items()}


def draw_hu(rng: np.random.Generator, enhanced: bool) -> dict[str, float]:
    """Draws one patient's mean HU of every tissue.

    Args:
        rng: Random generator.
        enhanced: Whether iodine was given (portal venous phase).
    """
    drawn = {}
    for name, tissue in TISSUES.items():
        if tissue.plain is None:
            continue
        mean, deviation = (enhanced and tissue.enhanced) or tissue.plain
        drawn[name] = mean + deviation * float(np.clip(rng.standard_normal(), -2, 2))
    return drawn
