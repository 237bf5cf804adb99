"""What a target echoes never shows a credential: every encoding, at every alignment, cut by any chunking, and nothing else
is touched."""

from __future__ import annotations

import base64
import html
import io
import itertools
import json
import logging
import time
import urllib.parse
from collections.abc import Callable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from stanchion.base import Denied, Problem
from stanchion.tools.adapter import AdapterProblem
from stanchion.tools.broker.scrubbing import MARK, ScrubbedStream, Scrubber, Scrubbers, quick_look

SECRET = 'pl4nted/S+cret="ö&\\key'
ALPHABET = st.characters(codec="utf-8", exclude_categories=["Cs"])
SECRETS = st.text(ALPHABET, min_size=6, max_size=40).filter(lambda value: len(set(value)) >= 3)


def base64_in(value: str, before: int, after: int, *, url: bool, padded: bool) -> str:
    raw = b"x" * before + value.encode() + b"y" * after
    encoded = (base64.urlsafe_b64encode if url else base64.b64encode)(raw).decode()
    return encoded if padded else encoded.rstrip("=")


def escaped(value: str) -> str:
    return json.dumps(value)[1:-1]


ENCODINGS: dict[str, Callable[[str], str]] = {
    "plain": lambda v: v,
    "percent": lambda v: urllib.parse.quote(v, safe=""),
    "percent_plus": urllib.parse.quote_plus,
    "percent_every_byte": lambda v: "".join(f"%{b:02x}" for b in v.encode()),
    "percent_twice": lambda v: urllib.parse.quote(urllib.parse.quote(v, safe=""), safe=""),
    "hex": lambda v: v.encode().hex(),
    "hex_upper": lambda v: v.encode().hex().upper(),
    "json": escaped,
    "json_utf8": lambda v: json.dumps(v, ensure_ascii=False)[1:-1],
    "json_slashes": lambda v: escaped(v).replace("/", "\\/"),
    "json_in_json": lambda v: escaped(escaped(v)),
    "html": html.escape,
    **{
        f"base64_{before}_{after}{'_url' * url}{'_padded' * padded}": (
            lambda v, b=before, a=after, u=url, p=padded: base64_in(v, b, a, url=u, padded=p)
        )
        for before in range(3)
        for after in range(3)
        for url in (False, True)
        for padded in (False, True)
    },
}


@pytest.mark.parametrize("encoding", ENCODINGS)
@given(secret=SECRETS, around=st.tuples(st.text(max_size=5), st.text(max_size=5)))
@example(secret=SECRET, around=("", ""))
def test_a_value_is_found_in_every_encoding(encoding: str, secret: str, around: tuple[str, str]) -> None:
    spelled = ENCODINGS[encoding](secret)
    scrubber = Scrubber([secret])
    said = f"{around[0]}<{spelled}>{around[1]}"
    assert scrubber.found_in(said)
    left = scrubber.text(said)
    assert MARK in left
    assert not scrubber.found_in(left.replace(MARK, chr(0)))


@given(secret=SECRETS, before=st.integers(0, 8), after=st.integers(0, 8), url=st.booleans())
def test_no_more_than_the_bits_of_a_neighbour_stay_of_base64(secret: str, before: int, after: int, url: bool) -> None:
    raw = secret.encode()
    scrubbed = Scrubber([secret]).text(base64_in(secret, before, after, url=url, padded=True))
    head, mark, tail = scrubbed.partition(MARK)
    assert mark
    # Every character that carries a bit of the value is gone.
    assert len(head) * 6 <= before * 8
    assert len(tail.rstrip("=")) * 6 <= after * 8 + 5
    assert len(raw) >= 6


@given(st.text(st.sampled_from('abcdefghijklmnopqrstuvwxyz ABC0123456789+/=%\\"{}[]:,'), max_size=400))
def test_what_holds_no_value_is_left_as_it_is(text: str) -> None:
    scrubber = Scrubber(["Zebra#Quagga!9"])
    assert scrubber.text(text) == text
    assert scrubber.json({"a": [text, {"b": text}]}) == {"a": [text, {"b": text}]}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize("secret", ["00001\x1f", 'p\\q/r"s', "zeile\nzwei", "\U0001f511-key"])
def test_a_value_in_json_in_json_in_json_is_found(secret: str) -> None:
    """A look at the whole answer, as JSON, is one level more than the text that is scrubbed."""
    text = secret
    for _ in range(4):
        assert Scrubber([secret]).json({"body": f"a {text} b"}) == {"body": f"a {MARK} b"}
        text = escaped(text)


@given(data=st.data(), secret=SECRETS, encoding=st.sampled_from(sorted(ENCODINGS)), value=JSON)
def test_json_of_any_form_is_scrubbed_wherever_the_value_stands(data, secret, encoding, value) -> None:
    planted = ENCODINGS[encoding](secret)
    place = data.draw(st.sampled_from(["text", "name", "list", "embedded"]))
    holder = {
        "text": {"a": planted, "b": value},
        "name": {planted: value},
        "list": [value, [[f"({planted})"]]],
        "embedded": {"body": json.dumps({"echo": planted, "more": "x"})},
    }[place]
    scrubber = Scrubber([secret])
    out = scrubber.json(holder)
    assert not scrubber.found_in(json.dumps(out, ensure_ascii=False).replace(MARK, chr(0)))
    assert MARK in json.dumps(out)


@pytest.mark.parametrize("encoding", ENCODINGS)
@settings(max_examples=15)
@given(
    secret=st.text("abcdef0123456789", min_size=24, max_size=64) | st.text(ALPHABET, min_size=30, max_size=60),
    around=st.tuples(
        st.sampled_from(["", "%", "%25", "\\", "\\u", "\\u00", "a%2"]) | st.text(max_size=5), st.text(max_size=5)
    ),
)
@example(secret="0041" + 30 * "ab", around=("\\u", ""))
@example(secret="2541" + 30 * "ab", around=("%", ""))
@example(secret="u0041" + 30 * "ab", around=("\\", ""))
def test_a_quick_look_says_no_only_where_nothing_is(encoding: str, secret: str, around: tuple[str, str]) -> None:
    """What is of one request alone is found as what lasts, whatever stands before it."""
    said = around[0] + ENCODINGS[encoding](secret) + around[1]
    passing, lasting = Scrubber([secret], passing=True), Scrubber([secret])
    assert passing.found_in(said)
    assert passing.text(said) == lasting.text(said)
    assert passing.json({"a": said}) == lasting.json({"a": said})


def test_a_quick_look_compiles_nothing_where_nothing_is() -> None:
    signature = "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"
    look = quick_look([signature])
    assert look is not None
    assert not look(json.dumps([{"id": n, "digest": f"{n:064x}"} for n in range(1000)]))
    assert look(f"Signature={signature}")
    assert quick_look(["short"]) is None
    began = time.process_time()
    for n in range(1000):
        Scrubber([f"{n:063x}f"], passing=True).text("an answer")
    assert time.process_time() - began < 1.0  # 0.03 s measured; compiled, they would take 6 s


def test_a_value_of_digits_is_found_as_a_number_too() -> None:
    assert Scrubber(["48151623"]).json({"pin": 48151623, "n": 12, "t": True}) == {"pin": MARK, "n": 12, "t": True}


@given(
    secret=SECRETS,
    encoding=st.sampled_from(sorted(ENCODINGS)),
    around=st.tuples(st.text("abc<>=/ ", max_size=30), st.text("abc<>=/ ", max_size=30)),
    cuts=st.lists(st.integers(0, 600), max_size=6),
)
def test_parts_are_scrubbed_as_the_whole_is(secret, encoding, around, cuts) -> None:
    whole = around[0] + ENCODINGS[encoding](secret) + around[1]
    scrubber = Scrubber([secret])
    stream = scrubber.stream()
    places = [0, *sorted(cut % (len(whole) + 1) for cut in cuts), len(whole)]
    parts = [whole[a:b] for a, b in itertools.pairwise(places)]
    assert "".join([stream.feed(part) for part in parts] + [stream.end()]) == scrubber.text(whole)


def test_a_stream_holds_back_no_more_than_its_window() -> None:
    stream = Scrubber(["0123456789"]).stream()
    given_out = sum(len(stream.feed("x" * 100)) for _ in range(50))
    assert given_out >= 5000 - Scrubber(["0123456789"]).window


def test_a_problem_keeps_its_class_and_loses_its_cause() -> None:
    scrubber = Scrubber([SECRET])
    try:
        try:
            int(SECRET)
        except ValueError as cause:
            raise AdapterProblem(
                "adapter.status",
                f"said {SECRET}.",
                hint=f"GET /x?token={urllib.parse.quote(SECRET)}",
                retryable=True,
                sent=True,
                status=502,
                headers=[SECRET.encode().hex()],
                raw=SECRET.encode(),
            ) from cause
    except Problem as problem:
        out = scrubber.problem(problem)
    assert isinstance(out, AdapterProblem)
    assert (out.retryable, out.sent, out.fields["status"]) == (True, True, 502)
    assert out.message == f"said {MARK}."
    assert out.hint == f"GET /x?token={MARK}"
    assert out.fields["headers"] == [MARK]
    assert not scrubber.found_in(repr(out.fields))
    assert out.__cause__ is None
    assert out.__context__ is None


def test_without_values_everything_passes() -> None:
    scrubber = Scrubber([""])
    problem = Denied("a.b", "x")
    assert scrubber.empty
    assert scrubber.text("x") == "x"
    assert scrubber.problem(problem) is problem
    stream = scrubber.stream()
    assert stream.feed("abc") == "abc"


def test_log_lines_lose_the_credentials_of_every_connector_in_use() -> None:
    scrubbers, out = Scrubbers(kept_max=2), io.StringIO()
    for value in ("first-secret", "second-secret", "third-secret"):
        scrubbers.of(frozenset({value}))
    stream = ScrubbedStream(out, scrubbers)
    handler = logging.StreamHandler(stream)
    library = logging.getLogger("a library of the scrubbing test")
    library.propagate = False
    library.addHandler(handler)
    library.error("GET /%s", "third-secret")
    try:
        int("second-secret")
    except ValueError:
        library.exception("a defect")
    assert out.getvalue().startswith(f"GET /{MARK}\na defect\nTraceback")
    assert "second-secret" not in out.getvalue()
    assert not stream.isatty()
    assert scrubbers.of(frozenset({"third-secret"})) is scrubbers.of(frozenset({"third-secret"}))
    assert scrubbers.text("first-secret") == "first-secret"  # long out of use


def test_a_megabyte_without_a_credential_costs_milliseconds() -> None:
    scrubber = Scrubber(["pl4nted-S3cret-value-of-a-bearer-token-0123456789", "another/one+with=signs"])
    records = [{"id": n, "name": f"customer {n}", "note": "the quick brown fox jumps over"} for n in range(14_000)]
    began = time.process_time()
    out = scrubber.json(records)
    assert out is records
    assert time.process_time() - began < 1.0  # 0.06 s measured
