"""A field's schema means the same as an input's: on a read, in a CSV cell, and on a write."""

from __future__ import annotations

from pathlib import Path

import pytest

from stanchion.base import Invalid, Json, SystemClock
from stanchion.blueprints import Schema, validate_value
from stanchion.tools import AdapterProblem
from stanchion.tools.adapters.registry import Adapters
from stanchion.tools.records import check_record, read_value, text_value
from tests.conformance import worlds

VALUES = {
    "decimal": ["12.50", "-3", "1e3", "12,50", "", " 1", "1_000", "NaN", "Infinity", "abc"],
    "date": ["2026-03-31", "31.03.2026", "2026-02-30", "20260331", "", "2026-03-31T00:00:00Z"],
    "date-time": ["2026-03-31T12:00:00Z", "2026-03-31T12:00:00+02:00", "2026-03-31T12:00:00", "2026-03-31", ""],
    "email": ["a@b.example", "a b", ""],
    "uri": ["https://x.example", "x", ""],
    "uuid": ["0199c1e0-0000-7000-8000-000000000001", "0199c1e0", ""],
}


@pytest.mark.parametrize(("form", "value"), [(form, value) for form, values in VALUES.items() for value in values])
@pytest.mark.parametrize("nullable", [False, True])
def test_a_format_means_what_it_means_for_an_input(form: str, value: str, nullable: bool) -> None:
    schema: Schema = {"type": ["string", "null"] if nullable else "string", "format": form}
    if not validate_value(schema, value):
        assert read_value(schema, value) == text_value(schema, value) == value
        assert check_record("orders", {"x": schema}, {"x": value}) == {"x": value}
        return
    with pytest.raises(ValueError, match=r"^is (a text|empty), not a") as read:
        read_value(schema, value)
    with pytest.raises(Invalid) as written:
        check_record("orders", {"x": schema}, {"x": value})
    assert written.value.code == "push.bad_record"
    assert written.value.fields["errors"] == [f"x: {read.value}"]
    if nullable and value == "":
        assert text_value(schema, value) is None
    else:
        with pytest.raises(ValueError, match="not a"):
            text_value(schema, value)


@pytest.mark.parametrize(
    ("schema", "value", "said"),
    [
        ({"type": "array", "items": {"type": "string", "format": "date"}}, ["2026-01-01", "x"], "at /1"),
        ({"type": "object", "properties": {"day": {"type": "string", "format": "date"}}}, {"day": "x"}, "at /day"),
        ({"type": "integer", "exclusiveMinimum": 5}, 5, "exclusiveMinimum"),
        ({"type": "array", "maxItems": 1}, [1, 2], "maxItems"),
        ({"type": "string", "enum": ["a", "b"]}, "c", "is none of a, b"),
    ],
)
def test_every_keyword_of_a_field_is_held(schema: Schema, value: Json, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        read_value(schema, value)


@pytest.mark.parametrize("text", ["1_000", "1_0.5", "\u0661\u0662", "NaN", "Infinity", "1e", "."])
@pytest.mark.parametrize("name", ["integer", "number"])
def test_a_cell_is_a_number_as_people_write_it(name: str, text: str) -> None:
    """Python reads more as numbers than a file's author means by it."""
    with pytest.raises(ValueError, match="is a text, not"):
        text_value({"type": name}, text)
    assert text_value({"type": name}, " 12 ") == 12
    assert text_value({"type": "number"}, "-1.5e3") == -1500.0


@pytest.fixture
def csv(tmp_path: Path) -> worlds.FilesWorld:
    world = worlds.make_files(tmp_path, Adapters(tmp_path, SystemClock()), "csv")
    world.body["resources"]["cases"]["fields"] = {
        "id": {"type": "string"},
        "amount": {"type": "string", "format": "decimal"},
        "paid_on": {"type": ["string", "null"], "format": "date"},
    }
    world.body["resources"]["cases"]["key"] = "id"
    return world


async def fetched(csv: worlds.FilesWorld, text: str) -> list[Json]:
    csv.path.with_name("cases.csv").write_text(text)
    return [dict(r) for r in (await csv.adapter.fetch(csv.target("cases", "fetch"), {}, 10, None)).records]


async def test_a_csv_of_decimals_and_dates(csv: worlds.FilesWorld) -> None:
    assert await fetched(csv, "id,amount,paid_on\n1,12.50,2026-03-31\n2,3,\n") == [
        {"id": "1", "amount": "12.50", "paid_on": "2026-03-31"},
        {"id": "2", "amount": "3", "paid_on": None},
    ]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ('2,"12,50",', "'amount' that is a text, not a decimal"),
        ("2,,", "'amount' that is empty, not a decimal"),
        ("2,1,31.03.2026", "'paid_on' that is a text, not a date"),
    ],
)
async def test_a_bad_cell_is_named(csv: worlds.FilesWorld, row: str, said: str) -> None:
    with pytest.raises(AdapterProblem) as caught:
        await fetched(csv, f"id,amount,paid_on\n1,12.50,\n{row}\n")
    assert caught.value.code == "adapter.wrong_type"
    assert "casebook.cases has in record 2 of cases.csv" in caught.value.message
    assert said in caught.value.message
    assert "12,50" not in caught.value.message
    assert "may be empty" in caught.value.hint
