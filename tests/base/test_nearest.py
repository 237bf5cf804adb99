"""What somebody meant who named something that is not there."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stanchion.base import did_you_mean, nearest

NAMES = ["case-triage", "pay-bill", "close-account"]


def test_the_nearest_name_is_the_one_that_was_meant():
    assert nearest("case-triag", NAMES) == "case-triage"
    assert nearest("pay_bil", NAMES) == "pay-bill"
    assert nearest("invoice", NAMES) is None
    assert nearest("bill", NAMES, likeness=0.7) is None


def test_a_hint_is_the_nearest_or_all_if_they_are_few_or_nothing():
    assert did_you_mean("case-triag", NAMES) == "Did you mean case-triage?"
    assert did_you_mean("invoice", NAMES) == "Known here: case-triage, close-account, pay-bill."
    assert did_you_mean("invoice", [f"n{n}" for n in range(13)]) == ""
    assert did_you_mean("invoice", []) == ""


@given(st.lists(st.text(min_size=1), min_size=1, unique=True), st.data())
def test_who_names_what_is_there_is_told_that(names: list[str], data: st.DataObject):
    said = data.draw(st.sampled_from(names))
    assert nearest(said, names) == said
