"""The estimate of energy, by hand."""

import pytest

from ct_keras.training.energy import EnergyMeter, EnergyRates, estimate_energy


def test_energy_follows_from_core_hours_and_power():
    rates = EnergyRates(
        watts_per_core=10, overhead=2, grams_per_kwh=500, price_per_kwh=0.3
    )
    found = estimate_energy(1800, 2 * 3600, rates)
    assert (found.hours, found.core_hours) == (0.5, 2)
    assert found.kwh == pytest.approx(0.04)
    assert found.co2_grams == pytest.approx(20)
    assert found.euros == pytest.approx(0.012)
    assert "about 0.04 kWh, 20 g of CO2" in str(found) and "an estimate" in str(found)


def test_the_meter_counts_busy_time():
    with EnergyMeter() as meter:
        sum(number * number for number in range(300_000))
    found = meter.energy()
    assert found.core_hours > 0 and found.hours > 0
    assert found.kwh == pytest.approx(found.core_hours * 15 * 1.67 / 1000)
