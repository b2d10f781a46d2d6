"""What a training run costs: an estimate of energy, carbon dioxide and money.

The power is not measured. Each busy processor core counts with a typical power, memory
and the losses of a computing centre included, so the result is good to a factor of two.
A graphics card is not counted.

Reference:
    Lannelongue, Grealey, Inouye, Adv Sci 8(12), 2100707, 2021,
    doi:10.1002/advs.202100707.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

_J_PER_KWH = 3.6e6


@dataclass(frozen=True)
class EnergyRates:
    """What the estimate assumes.

    Attributes:
        watts_per_core: Power of a busy core, with its share of memory.
        overhead: Power of the computing centre over that of its computers.
        grams_per_kwh: Carbon dioxide equivalents of a kWh, the mean of the world.
        price_per_kwh: Price of a kWh in euros.
    """

    watts_per_core: float = 15.0
    overhead: float = 1.67
    grams_per_kwh: float = 475.0
    price_per_kwh: float = 0.25


@dataclass(frozen=True)
class Energy:
    """The estimate for some work.

    Attributes:
        hours: Wall time.
        core_hours: Time of all cores together.
        kwh: Energy.
        co2_grams: Carbon dioxide equivalents.
        euros: Price of the energy.
        rates: What was assumed.
    """

    hours: float
    core_hours: float
    kwh: float
    co2_grams: float
    euros: float
    rates: EnergyRates

    def __str__(self) -> str:
        rates = self.rates
        return (
            f"{self.hours:.2f} h, {self.core_hours:.2f} core hours: about "
            f"{self.kwh:.2g} kWh, {self.co2_grams:.2g} g of CO2 and {self.euros:.2g} "
            f"EUR of energy (an estimate: {rates.watts_per_core:g} W per busy core, "
            f"{rates.overhead:g} times that with cooling; {rates.grams_per_kwh:g} g "
            f"and {rates.price_per_kwh:g} EUR per kWh)"
        )


def estimate_energy(
    seconds: float, core_seconds: float, rates: EnergyRates | None = None
) -> Energy:
    """Estimates energy, carbon dioxide and price of some work.

    Args:
        seconds: Wall time.
        core_seconds: Time of all cores together.
        rates: What to assume; None for typical values.

    Example:
        >>> round(estimate_energy(3600, 7200).kwh, 4)
        0.0501
    """
    rates = rates or EnergyRates()
    kwh = core_seconds * rates.watts_per_core * rates.overhead / _J_PER_KWH
    return Energy(
        seconds / 3600,
        core_seconds / 3600,
        kwh,
        kwh * rates.grams_per_kwh,
        kwh * rates.price_per_kwh,
        rates,
    )


class EnergyMeter:
    """Measures the time of this process, and of those that it starts, in a block.

    Example:
        >>> with EnergyMeter() as meter:
        ...     _ = sum(range(1000))
        >>> meter.energy().core_hours < 1
        True
    """

    def __enter__(self) -> EnergyMeter:
        self._begin = time.perf_counter(), _core_seconds()
        return self

    def __exit__(self, *error) -> None:
        self._end = time.perf_counter(), _core_seconds()

    def energy(self, rates: EnergyRates | None = None) -> Energy:
        """Returns the estimate for the block."""
        seconds, core_seconds = (
            end - begin for begin, end in zip(self._begin, self._end, strict=True)
        )
        return estimate_energy(seconds, core_seconds, rates)


def _core_seconds() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system
