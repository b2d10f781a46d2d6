"""The questions about every panel, and the limits of the design."""

from __future__ import annotations

from dataclasses import dataclass

#: The scores of a Likert item: 1 unacceptable, 3 adequate, 5 excellent.
SCORES = (1, 2, 3, 4, 5)
#: The criterion whose scores are percentages: "is it as good as normal dose?"
NORMAL_DOSE = "normal_dose"
#: The criterion of the primary question: its comparison with the full dose.
PRIMARY = "confidence"
#: Non-inferiority margin against the full dose, in score points.
MARGIN = 0.5
FEWEST_READERS = 3
FEWEST_CASES = 30
#: The two control arms that are hidden among the methods in every case.
FULL_DOSE, LOW_DOSE = "reference", "input"


@dataclass(frozen=True)
class Criterion:
    """A five-point Likert item; higher is better.

    Attributes:
        id: Its key in the files.
        title: What is judged.
        worst: Meaning of the score 1.
        best: Meaning of the score 5.
        middle: Meaning of the score 3.
    """

    id: str
    title: str
    worst: str
    best: str
    middle: str = "adequate"


CRITERIA = {
    criterion.id: criterion
    for criterion in (
        Criterion(
            "features",
            "Anatomical features retained",
            "structures lost or changed",
            "all structures retained",
        ),
        Criterion(
            "resolution",
            "Spatial resolution, sharpness of edges",
            "unacceptably blurred",
            "fully sharp",
        ),
        Criterion(
            "low_contrast",
            "Low-contrast visibility (liver, vessels)",
            "cannot be distinguished",
            "clearly distinguished",
        ),
        Criterion(
            "artefacts",
            "Artefacts (streaks, false structures)",
            "unacceptable",
            "none",
        ),
        Criterion(
            "graininess",
            "Graininess (amount of noise)",
            "unacceptably noisy",
            "no disturbing noise",
        ),
        Criterion(
            "texture",
            "Texture of the noise",
            "unnatural, plastic",
            "natural",
        ),
        Criterion(
            "confidence",
            "Overall diagnostic confidence",
            "unacceptable",
            "excellent",
        ),
        Criterion(
            NORMAL_DOSE,
            "As good as an image at normal dose, in percent",
            "0 %, 2 is 25 %",
            "100 %",
            "50 %, 4 is 75 %",
        ),
    )
}
#: The criteria of a study that does not choose; the question in percent is extra.
USUAL_CRITERIA = tuple(name for name in CRITERIA if name != NORMAL_DOSE)

#: Questions about findings, answered by ticking the panels that show them.
FINDINGS = {
    "appears": "Shows a structure that is absent in another panel",
    "lost": "Lacks a structure that another panel shows",
}
