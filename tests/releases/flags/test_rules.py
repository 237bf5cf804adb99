"""Editing a document: one field, everything else as its author wrote it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stanchion.artifacts import Document
from stanchion.base import Conflict
from stanchion.blueprints import read_document
from stanchion.releases.flags import rules
from tests.releases.flags.support import FLAG


def edit(source: str, field: str, value: bool | str) -> str:
    return rules.edited(Document(path="f.yaml", source=source), field, value).source


def test_a_field_that_is_there_is_replaced_where_it_stands() -> None:
    assert edit(FLAG, "default", "on") == FLAG.replace("default: off", "default: on")
    enabled = FLAG + "enabled: true  # since May\n"
    assert edit(enabled, "enabled", False) == FLAG + "enabled: false  # since May\n"


def test_a_field_that_is_not_there_comes_below_the_name() -> None:
    assert edit(FLAG, "enabled", False) == FLAG.replace("\nowner", "\nenabled: false\nowner")
    assert edit("# mine\n  flag: a # the name\n  owner: x", "enabled", True) == (
        "# mine\n  flag: a # the name\n  enabled: true\n  owner: x"
    )
    assert edit("owner: x\nflag: a", "enabled", False) == "owner: x\nflag: a\nenabled: false\n"


def test_a_document_in_flow_style_or_json_stays_so() -> None:
    assert edit('{"flag": "a", "default": "off"}', "default", "on") == '{"flag": "a", "default": "on"}'
    assert edit('{"flag": "a", "owner": "x"}', "enabled", False) == '{"flag": "a", "enabled": false, "owner": "x"}'
    assert edit("{flag: a, owner: x}", "enabled", False) == '{flag: a, "enabled": false, owner: x}'


def test_what_is_so_already_stays_untouched() -> None:
    assert edit(FLAG, "default", "off") == FLAG


def test_a_value_on_a_line_of_its_own_is_found() -> None:
    assert edit("flag:\n  a\nowner: x\n", "enabled", False) == "flag:\n  a\nenabled: false\nowner: x\n"


@pytest.mark.parametrize("source", ["--- {flag: a}\n", "- flag\n", ""])
def test_what_cannot_be_edited_is_refused(source: str) -> None:
    with pytest.raises(Conflict) as refused:
        edit(source, "enabled", False)
    assert refused.value.code == "flag.not_edited"


@given(name=st.text(min_size=1, max_size=12), comment=st.booleans(), there=st.booleans(), flow=st.booleans())
def test_whatever_a_variant_is_called_the_document_says_it_afterwards(name, comment, there, flow) -> None:
    if flow:
        source = '{"flag": "a"' + (', "default": "off"' if there else "") + "}"
    else:
        source = "flag: a" + ("  # note" if comment else "") + ("\ndefault: off\n" if there else "\n")
    try:
        made = edit(source, "default", name)
    except Conflict:
        # What YAML cannot say is refused: no half of a surrogate pair, no control characters.
        assert not name.isprintable()
    else:
        assert read_document(Document(path="f", source=made)).body == {"flag": "a", "default": name}
