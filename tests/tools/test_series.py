"""Connectors and operations as labels: each its own name while there is room, then `other`."""

from __future__ import annotations

from stanchion.tools.series import OTHER, Series


def test_the_first_of_each_are_told_apart_and_stay_so():
    series = Series(connectors_max=2, operations_max=3)
    assert series.of("erp", "invoices.push") == ("erp", "invoices.push")
    assert series.of("erp", "cancel.execute") == ("erp", "cancel.execute")
    assert series.of("bank", "payments.push") == ("bank", "payments.push")
    assert series.of("bank", "payments.fetch") == ("bank", OTHER)
    assert series.of("crm", "cases.fetch") == (OTHER, OTHER)
    assert series.of("erp", "invoices.push") == ("erp", "invoices.push")
    assert (series.connector("bank"), series.connector("crm")) == ("bank", OTHER)
