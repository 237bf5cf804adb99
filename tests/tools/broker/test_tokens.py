"""Run tokens: good for one call, on one connection, for a minute."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stanchion.base import Denied
from stanchion.tools.broker import tokens
from tests.tools.broker.calls import a_call, asker

KEY, NOW = b"k" * tokens.KEY_BYTES, 1_763_800_000.0


def signed(**other):
    call = a_call(**other)
    return replace(call, token=tokens.sign(call, KEY, NOW))


def test_a_token_is_good_for_its_call_until_it_is_over():
    call = signed()
    tokens.verify(call, KEY, NOW)
    tokens.verify(call, KEY, NOW + tokens.TOKEN_S - 1)
    with pytest.raises(Denied) as caught:
        tokens.verify(call, KEY, NOW + tokens.TOKEN_S)
    assert caught.value.code == "broker.token_expired"


@pytest.mark.parametrize(
    "other",
    [
        {"op": "execute"},
        {"tenant": "umbrella"},
        {"connector": "ledger"},
        {"digest": "sha256:" + "00" * 32},
        {"resource": "cases"},
        {"operation": "close"},
        {"key": "eff_2"},
        {"asker": None},
        {"asker": asker(run_id=UUID(int=7))},
        {"asker": asker(root_id=UUID(int=7))},
        {"asker": asker(path="triage/record[1]")},
        {"asker": asker(epoch=4)},
        {"asker": asker(principal="olga")},
        {"asker": asker(tool="close-case")},
        {"asker": asker(tool_digest="sha256:00")},
        # What stands on the border of two parts is bound to its part.
        {"resource": "outcomespush", "operation": ""},
    ],
    ids=str,
)
def test_a_token_is_good_for_nothing_else(other):
    with pytest.raises(Denied) as caught:
        tokens.verify(replace(signed(), **other), KEY, NOW)
    assert caught.value.code == "broker.bad_token"


def test_a_token_of_another_connection_is_refused():
    with pytest.raises(Denied, match="was not made for this call on this connection"):
        tokens.verify(signed(), b"j" * tokens.KEY_BYTES, NOW)


def test_nobody_signs_for_longer_than_minutes():
    call = a_call()
    long = replace(call, token=tokens.sign(call, KEY, NOW + tokens.TOKEN_S_MAX))
    with pytest.raises(Denied) as caught:
        tokens.verify(long, KEY, NOW)
    assert caught.value.code == "broker.bad_token"


@given(st.text(max_size=200))
def test_any_other_text_is_refused(text):
    with pytest.raises(Denied) as caught:
        tokens.verify(a_call(token=text), KEY, NOW)
    assert caught.value.code == "broker.bad_token"


def test_a_later_expiry_cannot_be_written_in():
    form, at, mac = signed().token.split(".")
    with pytest.raises(Denied) as caught:
        tokens.verify(a_call(token=f"{form}.{int(at) + 60}.{mac}"), KEY, NOW)
    assert caught.value.code == "broker.bad_token"
