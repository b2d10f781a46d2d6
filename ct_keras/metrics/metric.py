"""The definition of every metric: name, unit, digits and direction.

Tables, the report page, the command line and `metrics.json` take these from here.
"""

from __future__ import annotations

from dataclasses import dataclass

from ct_keras.metrics.protocols import PROTOCOLS
from ct_keras.metrics.tissues import TISSUES


@dataclass(frozen=True)
class Metric:
    """How a metric is shown and compared.

    Attributes:
        key: Its key in a row of ``metrics.json``.
        label: Its name, without the unit.
        unit: Its unit, or "".
        digits: Decimals.
        higher_is_better: False for an error; None if neither direction is better.
        signed: Whether it is a bias: best at 0, shown with its sign.
    """

    key: str
    label: str
    unit: str = ""
    digits: int = 2
    higher_is_better: bool | None = None
    signed: bool = False

    @property
    def head(self) -> str:
        """The heading of its column.

        Example:
            >>> METRICS["psnr"].head
            'PSNR (dB)'
        """
        return f"{self.label} ({self.unit})" if self.unit else self.label

    def worth(self, value: float) -> float | None:
        """Returns a number that increases with the quality of a value, or None."""
        if self.signed:
            return -abs(value)
        if self.higher_is_better is None:
            return None
        return value if self.higher_is_better else -value


def _of_protocols() -> list[Metric]:
    shared = (
        ("psnr", "PSNR", "dB", 2, True),
        ("ssim", "SSIM", "", 4, True),
        ("rmse_hu", "RMSE", "HU", 2, False),
    )
    found = []
    for protocol in PROTOCOLS.values():
        found += [Metric(protocol.key(key), *rest) for key, *rest in shared]
        if protocol.unit_rmse:
            found.append(Metric(protocol.key("rmse"), "RMSE", "0 to 1", 4, False))
    return found


_ALL = (
    *_of_protocols(),
    Metric("vif", "VIF", digits=4, higher_is_better=True),
    Metric("vif_swapped", "VIF swapped", digits=4),
    Metric("rmse_hu_hu", "RMSE", "HU", higher_is_better=False),
    Metric("mae_hu", "MAE", "HU", higher_is_better=False),
    Metric("rmse_hu_body", "RMSE body", "HU", higher_is_better=False),
    Metric("mae_hu_body", "MAE body", "HU", higher_is_better=False),
    Metric("bias_hu", "Bias", "HU", signed=True),
    *(
        Metric(f"bias_hu_{tissue.name}", f"Bias {tissue.name}", "HU", signed=True)
        for tissue in TISSUES
    ),
)

#: Key -> metric, for every number that `ct_keras.metrics.evaluate` returns.
METRICS: dict[str, Metric] = {metric.key: metric for metric in _ALL}
#: The metrics for tests and comparisons, in the main protocol.
MAIN_METRICS = ("psnr", "ssim", "rmse_hu")
#: The metrics in tables of groups; tables of doses show all metrics.
GROUP_METRICS = (*MAIN_METRICS, "vif", "bias_hu")
