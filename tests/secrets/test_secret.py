"""A Secret is shown to nobody who does not ask for its value."""

from __future__ import annotations

import copy
import json
import logging
import pickle
import traceback

import orjson
import pytest
import structlog

from stanchion.base import Invalid, dumps
from stanchion.secrets import Secret, SecretRef
from stanchion.secrets.providers import Values

VALUE = "pl4nted-value"
SECRET = Secret(VALUE, ref=SecretRef.parse("secret://local/erp#token"), version=3)


def test_it_gives_its_value_when_asked():
    assert SECRET.reveal() == VALUE
    assert (str(SECRET.ref), SECRET.version) == ("secret://local/erp#token", 3)


@pytest.mark.parametrize(
    "shown",
    [
        str,
        repr,
        "{}".format,
        "{!r}".format,
        "{:>40}".format,
        lambda s: f"{s}",
        lambda s: f"{s} {s!r}",
        lambda s: repr([s, {"a": s}, (s,)]),
        lambda s: repr(Values(fields={"value": s.reveal()})),
        lambda s: structlog.dev.ConsoleRenderer(colors=False)(None, "info", {"event": "x", "secret": s}),
        lambda s: logging.Formatter().format(logging.LogRecord("x", 20, "p", 1, "%s", (s,), None)),
        lambda s: str(Invalid("a.b", f"{s} is wrong", secret=s)) + repr(Invalid("a.b", "x", secret=s).fields),
    ],
)
def test_no_text_of_it_has_the_value(shown):
    assert "pl4nted" not in shown(SECRET)
    assert "erp" in shown(SECRET) or "hidden" in shown(SECRET) or "Values" in shown(SECRET)


@pytest.mark.parametrize("write", [pickle.dumps, copy.copy, copy.deepcopy, json.dumps, orjson.dumps, hash, vars, dumps])
def test_it_is_written_and_copied_nowhere(write):
    with pytest.raises((TypeError, Invalid)) as caught:
        write(SECRET)
    assert "pl4nted" not in "".join(traceback.format_exception(caught.value))


def test_two_of_one_value_are_equal():
    assert Secret(VALUE, ref=SecretRef.parse("secret://env/other")) == SECRET
    assert Secret(VALUE + "x", ref=SECRET.ref) != SECRET
    assert SECRET != VALUE
