"""The artifact kind `trigger`: reading its document, with all that is wrong with it at its place."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from typing import cast

from stanchion.artifacts import Document, Parsed
from stanchion.base import Invalid, Json, did_you_mean
from stanchion.blueprints import (
    Fault,
    Lookup,
    Schema,
    Specimen,
    check_document,
    dangling,
    duration_s,
    in_order,
    to_issue,
    validate_value,
)
from stanchion.expressions import Fault as ExpressionFault
from stanchion.expressions import (
    FaultyExpression,
    FaultyTemplate,
    compile_expression,
    compile_template,
    has_expressions,
)
from stanchion.secrets import SecretRef
from stanchion.tools.triggers import rules


class TriggerKind:
    """Fills `artifacts.KindSpec`. A trigger is published, reviewed, released and rolled back like every kind."""

    kind = "trigger"
    refs = frozenset(("blueprint",))
    # No run is pinned to a trigger and no two senders share one delivery: there is nothing to deal between two versions.
    # The live one receives, also while a rollout of another is under way.
    specimen: Specimen | None = None

    def parse(self, document: Document, lookup: Lookup) -> Parsed:
        """The document's name, body, owner and all its issues. Never raises for what the author wrote."""
        value, issues, positions = check_document(document, rules.SCHEMA)
        body = value if isinstance(value, dict) else dict[str, Json]()
        faults: list[Fault] = []
        if not any(issue.severity == "error" for issue in issues):
            faults = list(faults_of_trigger(body, lookup))
        name, owner, blueprint = body.get("trigger"), body.get("owner"), body.get("blueprint")
        return Parsed(
            name=name if isinstance(name, str) else "",
            body=body,
            owner=owner if isinstance(owner, str) else "",
            references=(("blueprint", blueprint),) if isinstance(blueprint, str) else (),
            issues=in_order([*issues, *(to_issue(fault, positions) for fault in faults)]),
        )


def faults_of_trigger(body: Mapping[str, Json], lookup: Lookup) -> Iterator[Fault]:
    """Everything that is wrong with a document that fits the schema, given its Blueprint as it is."""
    yield from _source_faults(cast("Mapping[str, Json]", body["source"]))
    for pointer, message, hint in dangling(body.get("event"), "/event"):
        yield Fault(pointer=pointer, code="document.schema", message=message, hint=hint)
    scope = rules.scope_of(body)
    yield from _when_faults(body, scope)
    yield from _dedupe_faults(body, scope)
    yield from _input_faults(body, scope, lookup)


def _source_faults(source: Mapping[str, Json]) -> Iterator[Fault]:
    if len(source) != 1:
        message = "A trigger has one source: a webhook, or events."
        yield Fault(pointer="/source", code="trigger.source", message=message, hint="Write two triggers.")
    webhook = source.get("webhook")
    if not isinstance(webhook, dict):
        return
    try:
        SecretRef.parse(webhook.get("secret"), place="/source/webhook/secret")
    except Invalid as problem:
        yield Fault(pointer="/source/webhook/secret", code=problem.code, message=problem.message, hint=problem.hint)
    tolerance_s = duration_s(str(webhook.get("tolerance", rules.TOLERANCE_DEFAULT)))
    if tolerance_s is not None and not 0 < tolerance_s <= rules.TOLERANCE_S_MAX:
        message = "The tolerance is not more than nothing and at most an hour."
        hint = f"{rules.TOLERANCE_DEFAULT} is what senders of Standard Webhooks expect."
        yield Fault(pointer="/source/webhook/tolerance", code="trigger.tolerance", message=message, hint=hint)
    listed = webhook.get("headers")
    for number, name in enumerate(listed if isinstance(listed, list) else []):
        if name in rules.SECRET_HEADERS:
            message = f"The header {name} is a credential; no expression reads it."
            yield Fault(
                pointer=f"/source/webhook/headers/{number}",
                code="trigger.secret_header",
                message=message,
                hint="Leave it out.",
            )


def _when_faults(body: Mapping[str, Json], scope: Schema) -> Iterator[Fault]:
    when = body.get("when")
    if not isinstance(when, str):
        return
    try:
        kind = compile_expression(when, scope, where="/when").schema.get("type")
    except FaultyExpression as error:
        yield from (_at("/when", when, fault) for fault in error.faults)
        return
    if kind is not None and kind != "boolean":
        message = f"`when` must give true or false, and it gives {kind}."
        yield Fault(pointer="/when", code="trigger.when", message=message, hint="Compare it: event.type == 'paid'.")


def _dedupe_faults(body: Mapping[str, Json], scope: Schema) -> Iterator[Fault]:
    source = rules.dedupe_source(body)
    made = yield from _template("/dedupe", source, scope)
    if made is None:
        return
    if "dedupe" in body and not has_expressions(source):
        message = "`dedupe` is the same for every message: only the first would ever start a run."
        hint = "Name a member that tells messages apart: ${event.id}."
        yield Fault(pointer="/dedupe", code="trigger.dedupe", message=message, hint=hint)
    elif made.get("type") not in (None, "string", "integer"):
        message = f"`dedupe` gives {made['type']}; duplicates are known by a text or a whole number."
        yield Fault(pointer="/dedupe", code="trigger.dedupe", message=message, hint="Name one member: ${event.id}.")


def _input_faults(body: Mapping[str, Json], scope: Schema, lookup: Lookup) -> Iterator[Fault]:
    written = body.get("input", {})
    made = yield from _template("/input", written, scope)
    blueprint = lookup("blueprint", str(body["blueprint"]))
    if made is None or blueprint is None:  # that there is no such Blueprint is said where references are checked
        return
    yield from _fits(written, made, rules.input_of(blueprint), "/input", str(body["blueprint"]))


def _fits(written: Json, made: Schema, wanted: Schema, pointer: str, name: str) -> Iterator[Fault]:
    """What of a mapping cannot be the Blueprint's input, as far as its types tell."""
    if not has_expressions(written):
        for inner, message in validate_value(wanted, written):
            yield _misfit(pointer + inner, message, name)
        return
    kind, kinds = made.get("type"), wanted.get("type")
    takes = [kinds] if isinstance(kinds, str) else kinds if isinstance(kinds, list) else []
    if isinstance(kind, str) and takes and kind not in takes and not (kind == "integer" and "number" in takes):
        message = f"It gives {kind}, and the input of Blueprint {name} takes {' or '.join(str(one) for one in takes)}."
        yield _misfit(pointer, message, name)
    elif isinstance(written, dict):
        yield from _members(written, made, wanted, pointer, name)


def _members(written: Mapping[str, Json], made: Schema, wanted: Schema, pointer: str, name: str) -> Iterator[Fault]:
    declared, required = wanted.get("properties"), wanted.get("required")
    known = declared if isinstance(declared, dict) else {}
    given = cast("Mapping[str, Schema]", made.get("properties", {}))
    for key in required if isinstance(required, list) else []:
        inner = known.get(str(key))
        if key not in written and not (isinstance(inner, dict) and "default" in inner):
            yield _misfit(pointer, f"The input of Blueprint {name} needs {key}.", name)
    for key, value in written.items():
        at = f"{pointer}/{key.replace('~', '~0').replace('/', '~1')}"
        inner = known.get(key)
        if isinstance(inner, dict):
            yield from _fits(value, given.get(key, {}), inner, at, name)
        elif wanted.get("additionalProperties") is False:
            message = f"The input of Blueprint {name} has no {key}."
            yield Fault(pointer=at, code="trigger.input", message=message, hint=did_you_mean(key, known), at_key=True)


def _misfit(pointer: str, message: str, name: str) -> Fault:
    hint = f"`stanchion blueprint show {name}` shows its input."
    return Fault(pointer=pointer, code="trigger.input", message=message, hint=hint)


def _template(pointer: str, value: Json, scope: Schema) -> Generator[Fault, None, Schema | None]:
    """Faults of a template; returns its schema, or None if it has some."""
    try:
        return compile_template(value, scope, where=pointer).schema
    except FaultyTemplate as error:
        for string in error.strings:
            yield from (_at(pointer + string.pointer, string.source, fault) for fault in string.faults)
        return None


def _at(pointer: str, text: str, fault: ExpressionFault) -> Fault:
    return Fault(
        pointer=pointer, code=fault.code, message=fault.message, hint=fault.hint, text=text, offset=fault.offset
    )
