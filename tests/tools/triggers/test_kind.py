"""The document of a trigger: every fault is told at its place."""

from __future__ import annotations

import pytest

from stanchion.blueprints import read_document
from stanchion.tools.triggers import TriggerKind
from tests.tools.triggers.support import BLUEPRINT, FIRED, TRIGGER, document

BODY = read_document(document(BLUEPRINT)).body


def found(source: str, *changes: tuple[str, str], blueprint=BODY) -> list[tuple[int, int, str, str]]:
    parsed = TriggerKind().parse(document(source, *changes), lambda kind, name: blueprint)
    return [(one.line, one.column, one.code, one.message) for one in parsed.issues]


@pytest.mark.parametrize("source", [TRIGGER, FIRED])
def test_sound_documents(source) -> None:
    parsed = TriggerKind().parse(document(source), lambda kind, name: BODY)
    assert parsed.issues == ()
    assert parsed.references == (("blueprint", "check-order"),)
    assert parsed.name.startswith("order-")


@pytest.mark.parametrize(
    ("old", "new", "line", "column", "code", "says"),
    [
        ("event.type == 'order.placed'", "event.kind == 'x'", 13, 13, "expression.invalid", "event.kind"),
        ("event.type == 'order.placed'", "event.data.id", 13, 7, "trigger.when", "gives string"),
        ("event.type == 'order.placed'", "headers.x_other == ''", 13, 15, "expression.invalid", "x_other"),
        ("event.type == 'order.placed'", "steps.a", 13, 7, "expression.invalid", "steps"),
        ("event.type == 'order.placed'", "${event.type == ''}", 13, 7, "document.bare_expression", "when"),
        ('"${event.data.id}"', '"${event.data.no}"', 14, 30, "expression.invalid", "event.data.no"),
        ("{order:", "{orders:", 14, 8, "trigger.input", "needs order"),
        ("{order:", "{orders: a, order:", 14, 9, "trigger.input", "has no orders"),
        ('"${event.data.id}"', "17", 14, 16, "trigger.input", "17"),
        ('"${event.data.id}"', '"${event.data}"', 14, 16, "trigger.input", "takes string"),
        ("secret://local/hooks/shop", "whsec_abcdefgh", 6, 48, "secret.bad_reference", "does not begin"),
        ("5m", "2h", 6, 86, "trigger.tolerance", "an hour"),
        ("5m", "soon", 6, 86, "document.duration", "soon"),
        ("x-shop-topic", "authorization", 6, 100, "trigger.secret_header", "authorization"),
        ("x-shop-topic", "X-Shop", 6, 100, "document.pattern", "X-Shop"),
        ("when:", "dedupe: same\nwhen:", 13, 9, "trigger.dedupe", "same for every"),
        ("when:", 'dedupe: "${event.data}"\nwhen:', 13, 9, "trigger.dedupe", "object"),
        ("required: [type, data]", "required: [type, date]", 9, 20, "document.schema", "date is required"),
        ("blueprint: check-order", "", 1, 1, "document.missing_field", "blueprint"),
    ],
)
def test_faults_at_their_places(old, new, line, column, code, says) -> None:
    issues = found(TRIGGER, (old, new))
    assert any((at, col, kind) == (line, column, code) and says in text for at, col, kind, text in issues), issues


def test_one_source() -> None:
    assert [one[2] for one in found(FIRED, ("{event: {}}", "{}"))] == ["document.range"]
    both = found(TRIGGER, ("  webhook:", "  event: {}\n  webhook:"))
    assert [one[2] for one in both] == ["trigger.source"]


def test_an_unknown_blueprint_is_named_by_the_references() -> None:
    parsed = TriggerKind().parse(document(TRIGGER), lambda kind, name: None)
    assert (parsed.issues, parsed.references) == ((), (("blueprint", "check-order"),))


def test_a_secret_is_never_quoted() -> None:
    assert "abcdefgh" not in str(found(TRIGGER, ("secret://local/hooks/shop", "whsec_abcdefgh")))
