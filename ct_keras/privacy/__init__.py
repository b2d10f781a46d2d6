"""What may leave a hospital, and what must not.

- `keys`: keyed hashes that show only whether two texts are the same;
- `strata`: ages, body parts and kernels as a few fixed values;
- `kept`: the elements of a header that a de-identified copy may hold;
- `clean`: a header without everything else;
- `deidentify`: de-identified copies of CT series.
"""

from ct_keras.privacy.clean import Profile
from ct_keras.privacy.deidentify import DeidentifiedSeries, deidentify_series

__all__ = ["DeidentifiedSeries", "Profile", "deidentify_series"]
