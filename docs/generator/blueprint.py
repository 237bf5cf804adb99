"""The fields of a Blueprint, per part of the document, and what its verbs give."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from docs.generator.parts import deployment
from docs.generator.tables import Field, code, fields, schema_keywords, table

from stanchion.blueprints import FORMATS, document_schema

_DOCUMENT = {
    "blueprint": Field("case-triage", "The name. Runs are started by it, releases are per name."),
    "description": Field("Triage every open case.", "What it is for; shown in lists."),
    "owner": Field("casework", "The team that answers for it."),
    "labels": Field("{team: casework}", "Texts by which it is found; part of the version.", "none"),
    "risk": Field("high", "What a mistake in it can do; policy says which releases a level permits.", "`low`"),
    "input": Field(
        "{type: object, required: [case_id], properties: {case_id: {type: string}}}",
        "JSON Schema of a run's input. Its type is always `object`; what is not declared is refused.",
        "no input",
    ),
    "steps": Field("[{id: …, …}]", "The steps, in order. Each has an `id` and one verb."),
    "output": Field(
        "{cases: '${size(steps.triage.succeeded)}'}", "What the run gives when it has succeeded.", "`null`"
    ),
}
_STEP = {
    "id": Field("case", "Unique in the whole Blueprint, also between blocks. Later steps read `steps.case`."),
    "if": Field("input.country == 'FR'", "The step runs if this is true, else it is SKIPPED.", "always runs"),
    "retry": Field("{attempts: 3}", "Repeat a failed attempt; see [below](#retry).", "one attempt"),
    "timeout": Field(
        "30s", "How long one attempt may take; then it fails with `step.timeout`, which is retryable.", "no limit"
    ),
    "for_each": Field("{in: input.ids}", "Once per element of a list; see [below](#for_each)."),
}
_RETRY = {
    "attempts": Field(
        "3", "How often it is tried in all. Only failures that are *retryable* are repeated ([errors](errors.md))."
    ),
    "backoff": Field(
        "exponential",
        "How the longest wait grows: doubling with each failure, or the same. The wait is random between 0 and that.",
        "`exponential`",
    ),
    "initial": Field("200ms", "The longest wait after the first failure.", "`1s`"),
    "max": Field("30s", "The longest wait ever.", "`60s`"),
}
_FOR_EACH = {
    "in": Field("steps.open.records", "An expression that gives the list; at most 10,000 elements."),
    "as": Field("open_case", "A second name for `item`.", "none"),
    "concurrency": Field("16", "How many items run at once. An item that waits for a person frees its place.", "10"),
    "on_item_error": Field(
        "continue", "`stop`: the first failed item fails the step. `continue`: it is listed in `failed`.", "`stop`"
    ),
    "max_failures": Field("5", "With `continue`: more failed items than this fail the step.", "no limit"),
    "steps": Field(
        "[{id: …, …}]", "A block: each item is a child run, with ids, retries and approvals of its own.", "none"
    ),
    "output": Field("{tier: '${steps.outcome.value}'}", "With `steps`: what one item gives.", "`null`"),
}
_VERBS: Mapping[str, Mapping[str, Field]] = {
    "fetch": {
        "connector": Field("casebook", "Which connector; it must be live or in the same apply."),
        "resource": Field("cases", "Which of its resources; it must have a `fetch`."),
        "tool": Field(
            "post-cost",
            "The [tool](tools.md) that the step uses: it must be enabled, and narrows what may be done.",
            "none",
        ),
        "where": Field("{status: open}", "A value for each parameter that the resource's `fetch` declares.", "none"),
        "limit": Field("500", "Take at most so many. Without it, more than 10,000 records fail the step.", "all"),
        "page": Field("${steps.first.page}", "Go on where an earlier `fetch` ended.", "from the beginning"),
    },
    "lookup": {
        "connector": Field("casebook", "Which connector."),
        "resource": Field("cases", "Which of its resources; it must have a `lookup`."),
        "tool": Field(
            "post-cost",
            "The [tool](tools.md) that the step uses: it must be enabled, and narrows what may be done.",
            "none",
        ),
        "key": Field("${input.case_id}", "The value of the resource's key field."),
        "missing": Field("null", "`fail`: no such record fails the step. `null`: go on with `record: null`.", "`fail`"),
    },
    "push": {
        "connector": Field("outcomes", "Which connector. Its `environment` must be that of the deployment."),
        "resource": Field("outcomes", "Which of its resources; it must have a `push`."),
        "record": Field("${steps.outcome.value}", "The record to write: exactly the fields of the resource."),
        "tool": Field(
            "post-cost",
            "The [tool](tools.md) that the step uses: it must be enabled, and narrows what may be done.",
            "none",
        ),
        "simulate": Field("true", "Intent and outcome are recorded and nothing is sent.", "`false`"),
    },
    "execute": {
        "connector": Field(
            "erp", "Which connector. For what writes, its `environment` must be that of the deployment."
        ),
        "operation": Field("cancel-invoice", "Which of the operations under its `execute`."),
        "arguments": Field("{number: '${input.number}'}", "Values for the operation's parameters.", "none"),
        "tool": Field(
            "post-cost",
            "The [tool](tools.md) that the step uses: it must be enabled, and narrows what may be done.",
            "none",
        ),
        "simulate": Field("true", "Intent and outcome are recorded and nothing is sent.", "`false`"),
    },
    "transform": {
        "value": Field("{tier: \"${input.fine > 10000 ? 'high' : 'low'}\"}", "Any JSON; texts in it may hold `${ }`."),
        "schema": Field(
            "{type: array, items: {type: string}}",
            "What the value is, where the expression's own type is too loose. The value is not checked against it.",
            "inferred",
        ),
    },
    "logic_gate": {
        "if": Field("steps.case.record.fine_eur > 100000", "A boolean expression."),
        "then": Field("[{id: …, …}]", "The steps that run if it is true."),
        "else": Field("[{id: …, …}]", "The steps that run if it is false.", "none"),
    },
    "govern": {
        "policy": Field("supervisor-approval", "The [approval policy](policies.md) that judges the facts."),
        "facts": Field(
            "{fine_eur: '${steps.case.record.fine_eur}'}", "What the policy judges: exactly its facts.", "`{}`"
        ),
        "show": Field(
            "['${steps.outcome.value}']",
            "What the person sees. A PUSH after this step must write one of these values, as written here.",
        ),
        "on_reject": Field(
            "skip",
            "What a no does: `fail` the run, `skip` the rest of this block, or run these steps instead of the rest.",
            "`fail`",
        ),
        "on_expire": Field("skip", "The same for a request that nobody decided in time.", "`fail`"),
        "expires": Field("24h", "How long the request waits; at most what the policy allows.", "the policy's"),
    },
}
# A config for each verb from which the schema of its output can be asked, without a connector's fields.
_ASKED: Mapping[str, Mapping[str, Any]] = {
    "govern": {"on_reject": "skip", "on_expire": "skip"},
    "lookup": {"missing": None},
}


def _schema() -> Mapping[str, Any]:
    return document_schema(deployment().verbs)


def _step_schema() -> Mapping[str, Any]:
    step = _schema()["$defs"]["step"]
    own = {name: inner for name, inner in step["properties"].items() if name not in deployment().verbs}
    flat = {
        name: {k: v for k, v in inner.items() if k not in ("properties", "required")} for name, inner in own.items()
    }
    return {**step, "properties": flat}


def _part(name: str, said: Mapping[str, Field]) -> str:
    return fields(_schema()["$defs"]["step"]["properties"][name], said, f"blueprint.{name}")


def _verb(name: str) -> str:
    config = dict(_schema()["$defs"]["step"]["properties"][name])
    # Where the schema leaves the inside open, only the field itself is described.
    config["properties"] = {
        k: {n: v for n, v in p.items() if n != "properties"} for k, p in config["properties"].items()
    }
    spec = deployment().verbs[name]
    effect = {"none": "nothing outside", "read": "reads from outside", "write": "writes outside"}[spec.effect]
    waits = ", and may wait for a person" if spec.suspends else ""
    given = spec.output_schema(_ASKED.get(name, {}), lambda *_: None, lambda _: {})
    return (
        f"Does {effect}{waits}.\n\n".replace("Does reads", "Reads").replace("Does writes", "Writes")
        + fields(config, _VERBS[name], f"blueprint.{name}")
        + f"\nOutput: {code(_shape(given))}\n"
    )


def _shape(schema: Mapping[str, Any]) -> str:
    """A schema as the shape of its values: `{record: …, found: boolean}`."""
    kinds = schema.get("type")
    if isinstance(kinds, list):
        return " or ".join(_shape({**schema, "type": kind}) for kind in kinds)
    if "enum" in schema:
        return " or ".join(str(v) for v in schema["enum"])
    if kinds == "object" and schema.get("properties"):
        return "{" + ", ".join(f"{name}: {_shape(inner)}" for name, inner in schema["properties"].items()) + "}"
    if kinds == "array":
        return f"[{_shape(schema.get('items', {}))}]"
    return str(kinds or "…")


def _run_facts() -> str:
    from stanchion.blueprints.verbs import RUN_SCHEMA  # noqa: PLC0415 - no part of the package's face

    said = {
        "id": "the run's id; in an item, the id of the item's own child run",
        "blueprint": "the Blueprint's name",
        "environment": "the environment of this deployment",
        "requested_by": "the principal that started the run",
        "started_at": "when it was started, RFC 3339, UTC",
    }
    properties: Mapping[str, Any] = RUN_SCHEMA["properties"]  # type: ignore[assignment]
    if properties.keys() != said.keys():
        raise SystemExit(f"blueprint: run has {', '.join(properties)}")
    return table(("name", "is"), [(code(f"run.{name}"), meaning) for name, meaning in said.items()])


def _keywords() -> str:
    return (
        f"{', '.join(code(k) for k in schema_keywords())}.\n\n"
        f"Formats that are checked: {', '.join(code(f) for f in FORMATS)}."
    )


def schema_text() -> str:
    """The JSON Schema of a whole document, for editors."""
    return json.dumps(_schema(), indent=1, ensure_ascii=False) + "\n"


PARTS: Mapping[str, Callable[[], str]] = {
    "blueprint.document": lambda: fields(_schema(), _DOCUMENT, "blueprint"),
    "blueprint.step": lambda: fields(_step_schema(), _STEP, "blueprint.step"),
    "blueprint.retry": partial(_part, "retry", _RETRY),
    "blueprint.for_each": partial(_part, "for_each", _FOR_EACH),
    "blueprint.run": _run_facts,
    "blueprint.keywords": _keywords,
    **{f"blueprint.{verb}": partial(_verb, verb) for verb in _VERBS},
}
