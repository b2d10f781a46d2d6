"""What a reader is asked about every panel, and the limits of the design."""

from __future__ import annotations

from dataclasses import dataclass

#: The scores of a Likert item: 1 unacceptable, 3 adequate, 5 excellent.
SCORES = (1, 2, 3, 4, 5)
#: The item whose comparison with the full dose is the primary question.
PRIMARY = "confidence"
#: How much worse than the full dose still counts as not inferior, in score points.
MARGIN = 0.5
FEWEST_READERS = 3
FEWEST_CASES = 30
#: The two arms that every case hides among the methods, named as everywhere else.
FULL_DOSE, LOW_DOSE = "reference", "input"


@dataclass(frozen=True)
class Criterion:
    """A five-point Likert item; more is better.

    Attributes:
        id: Its key in the files.
        title: What is judged.
        worst: What a score of 1 stands for.
        best: What a score of 5 stands for.
    """

    id: str
    title: str
    worst: str
    best: str


CRITERIA = {
    criterion.id: criterion
    for criterion in (
        Criterion(
            "features",
            "Anatomical features retained",
            "structures lost or changed",
            "all structures kept",
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
    )
}

#: Questions about panels, answered by ticking those that they are true of.
FINDINGS = {
    "appears": "A structure appears that is absent in another panel",
    "lost": "A structure is lost that another panel shows",
}
