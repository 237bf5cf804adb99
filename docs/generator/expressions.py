"""Functions of the expression language, and worked examples whose results are computed here, by the real evaluator."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from docs.generator.tables import code, table

from stanchion.base import Problem, dumps
from stanchion.expressions import compile_expression, compile_template
from stanchion.expressions.compiler import SOURCE_MAX
from stanchion.expressions.functions import DIGITS_MAX, NAMES, PRODUCED_MAX
from stanchion.expressions.results import NODES_MAX
from stanchion.expressions.work import ITERATIONS_MAX, WORK_MAX

# The scope of every example on the page, and the schemas it was checked against at publish.
SCOPE: Mapping[str, Any] = {
    "input": {"country": "FR", "limit": 2, "since": "2026-11-20T22:30:00Z", "note": None},
    "run": {"id": "0199…", "requested_by": "ada"},
    "steps": {
        "case": {"record": {"case_id": "C-1", "fine": "1250.50", "paid": "250.50", "articles": [5, 32]}},
        "open": {
            "records": [
                {"case_id": "C-1", "country": "FR", "fine_eur": 900, "amount": "9.50"},
                {"case_id": "C-2", "country": "NO", "fine_eur": 120000, "amount": "10.00"},
                {"case_id": "C-3", "country": "FR", "fine_eur": 40, "amount": "0.50"},
            ]
        },
    },
    "config": {"risk_limits": {"fine_eur": 100000, "by_country": {"FR": 2.5, "NO": 1.0}}},
}
_TEXT: dict[str, Any] = {"type": "string"}
_INTEGER: dict[str, Any] = {"type": "integer"}
_MONEY: dict[str, Any] = {"type": "string", "format": "decimal"}


def _object(**properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "additionalProperties": False}


_SCHEMA: Mapping[str, Any] = _object(
    input=_object(country=_TEXT, limit=_INTEGER, since=_TEXT, note={"type": ["string", "null"]}),
    run=_object(id=_TEXT, requested_by=_TEXT),
    steps=_object(
        case=_object(
            record=_object(case_id=_TEXT, fine=_MONEY, paid=_MONEY, articles={"type": "array", "items": _INTEGER})
        ),
        open=_object(
            records={
                "type": "array",
                "items": _object(case_id=_TEXT, country=_TEXT, fine_eur=_INTEGER, amount=_MONEY),
            }
        ),
    ),
    config=_object(
        risk_limits=_object(fine_eur=_INTEGER, by_country=_object(FR={"type": "number"}, NO={"type": "number"}))
    ),
)

# What is CEL's own: the task, and the expression that does it.
_IDIOMS = (
    ("compare and join", "input.country == 'FR' && steps.case.record.articles.size() > 1"),
    ("choose", "steps.case.record.articles.exists(a, a == 32) ? 'security' : 'other'"),
    ("is it there?", "has(input.note) && input.note != null"),
    ("one element", "steps.open.records[0].case_id"),
    ("some elements", "steps.open.records.filter(r, r.country == input.country).map(r, r.case_id)"),
    ("do all, does any", "steps.open.records.all(r, r.fine_eur > 0)"),
    ("how many", "size(steps.open.records.filter(r, r.fine_eur > 100000))"),
    ("one of", "input.country in ['FR', 'DE']"),
    (
        "a threshold of a config",
        "steps.open.records.filter(r, r.fine_eur > config.risk_limits.fine_eur).map(r, r.case_id)",
    ),
    ("a value by a computed key", "config.risk_limits.by_country[input.country]"),
    ("build an object", "{'id': steps.case.record.case_id, 'n': size(steps.case.record.articles)}"),
    ("texts together", "steps.case.record.case_id + '/' + input.country"),
    ("does a text match", "steps.case.record.case_id.matches('^C-[0-9]+$')"),
    ("numbers and texts", "int('42') + 1"),
    ("a number as text", "string(input.limit) + ' cases'"),
    ("the smallest, the largest", "math.greatest(3, input.limit)"),
    ("times", "timestamp(input.since) + duration('90m')"),
)
# Ours: how it is called, what it gives, an example.
_FUNCTIONS: Mapping[str, tuple[str, str, str]] = {
    "decimal": (
        "decimal(x)",
        "A decimal number from a text, a whole number or a number. Money is never a float.",
        "decimal('2.50')",
    ),
    "add": ("add(a, b)", "Exact sum. `+ - * /` do not take decimals.", "add(steps.case.record.fine, '0.10')"),
    "subtract": ("subtract(a, b)", "Exact difference.", "subtract(steps.case.record.fine, steps.case.record.paid)"),
    "multiply": ("multiply(a, b)", "Exact product.", "multiply('19.99', 3)"),
    "divide": (
        "divide(a, b, places)",
        "Quotient, rounded half away from zero to 0 to 30 places.",
        "divide('10', 3, 2)",
    ),
    "compare": (
        "compare(a, b)",
        "-1, 0 or 1: decimals cannot be compared by `<`.",
        "compare(steps.case.record.fine, 1000) > 0",
    ),
    "round": ("round(x, places)", "Half away from zero, as invoices do.", "round('2.345', 2)"),
    "sum": (
        "sum(list)",
        "Of whole numbers, numbers, or decimals and texts (which gives a decimal).",
        "sum(steps.open.records.map(r, r.amount))",
    ),
    "group_by": (
        "group_by(list, field)",
        "Objects grouped by a field: a list of `{key, items}`, in order of first appearance.",
        "group_by(steps.open.records, 'country').map(g, {'country': g.key, 'cases': size(g.items)})",
    ),
    "sort_by": (
        "sort_by(list, field)",
        "Objects sorted by a field, stable; `-field` sorts downwards; null comes first.",
        "sort_by(steps.open.records, '-fine_eur').map(r, r.fine_eur)",
    ),
    "date": ("date(x)", "The day of a time, or of a text in RFC 3339.", "date(input.since)"),
    "in_zone": ("in_zone(time, zone)", "The time in an IANA time zone.", "in_zone(input.since, 'Europe/Paris')"),
    "join": ("list.join(between)", "A list of texts as one text.", "steps.open.records.map(r, r.case_id).join(', ')"),
    "split": ("text.split(between)", "A text as a list of texts; `''` splits into characters.", "'a,b'.split(',')"),
    "replace": ("text.replace(old, new)", "Every occurrence.", "'a-b-c'.replace('-', '')"),
    "lower": ("text.lower()", "In lower case.", "'NO'.lower()"),
    "upper": ("text.upper()", "In upper case.", "'no'.upper()"),
    "trim": ("text.trim()", "Without white space at both ends.", "'  x '.trim()"),
    "substring": (
        "text.substring(start, end)",
        "From character `start` up to before `end`, counted from 0.",
        "'GDPR-D001'.substring(5, 9)",
    ),
}
_TEMPLATES = (
    "${steps.case.record.articles}",
    "case ${steps.case.record.case_id} of ${input.country}",
    "costs $${100}",
    "no expression at all",
)
# Refused at publish: what was written, over the same scope.
_REFUSED = (
    "steps.case.record.fin",
    "steps.case.record.fine > 1000",
    "input.limit + '1'",
    "steps.later.value",
    "config.risk_limits.fine",
    "config['risk-limits'].fine_eur",
)


def _value(source: str) -> str:
    try:
        value = compile_expression(source, _SCHEMA, where="example").evaluate(SCOPE)
    except Problem as problem:
        raise SystemExit(f"expressions: {source}: {problem}") from problem
    # A map of CEL has no order of its own.
    return code(json.dumps(value, sort_keys=True, ensure_ascii=False))


def _examples() -> str:
    return table(("to", "write", "gives"), [(said, code(source), _value(source)) for said, source in _IDIOMS])


def _functions() -> str:
    if missing := NAMES ^ _FUNCTIONS.keys():
        raise SystemExit(f"expressions: the functions and what is said of them differ: {', '.join(sorted(missing))}")
    rows = [(code(call), said, code(source), _value(source)) for call, said, source in _FUNCTIONS.values()]
    return table(("function", "gives", "example", "result"), rows)


def _templates() -> str:
    rows: list[tuple[str, str]] = []
    for text in _TEMPLATES:
        value = compile_template(text, _SCHEMA, where="example").render(SCOPE)
        rows.append((code(text), code(dumps(value).decode())))
    return table(("written", "value"), rows)


def _refused() -> str:
    rows: list[tuple[str, str]] = []
    for source in _REFUSED:
        try:
            compile_expression(source, _SCHEMA, where="example")
        except Problem as problem:
            rows.append((code(source), f"{problem.message} {problem.hint}".strip()))
        else:
            raise SystemExit(f"expressions: {source} is not refused")
    return table(("written", "answer"), rows)


def _limits() -> str:
    return table(
        ("limit", "value"),
        [
            ("characters of one expression", f"{SOURCE_MAX:,}"),
            ("iterations of one evaluation", f"{ITERATIONS_MAX:,}"),
            ("characters and elements that comprehensions may touch", f"{WORK_MAX:,}"),
            ("characters and elements that functions may produce", f"{PRODUCED_MAX:,}"),
            ("digits of a decimal", str(DIGITS_MAX)),
            ("values in one result", f"{NODES_MAX:,}"),
        ],
    )


def _scope() -> str:
    import yaml  # noqa: PLC0415 - the one place that writes YAML

    return (
        "```yaml\n"
        + yaml.safe_dump(dict(SCOPE), sort_keys=False, allow_unicode=True, default_flow_style=None, width=100)
        + "```\n"
    )


PARTS: Mapping[str, Callable[[], str]] = {
    "expressions.scope": _scope,
    "expressions.examples": _examples,
    "expressions.functions": _functions,
    "expressions.templates": _templates,
    "expressions.refused": _refused,
    "expressions.limits": _limits,
}
