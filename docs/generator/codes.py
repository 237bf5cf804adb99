"""Which problem codes the source raises, and of which kind: found in the syntax trees, never listed by hand."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[2] / "src" / "stanchion"
_CODE = re.compile(r"[a-z][a-z_]*\.[a-z][a-z_0-9]*\Z")
# Calls whose first argument is a code -> the kind of the problem they make (base/errors.py).
_PROBLEMS = {
    "Invalid": "invalid",
    "Unauthenticated": "unauthenticated",
    "Denied": "denied",
    "NotFound": "not_found",
    "Conflict": "conflict",
    "LimitExceeded": "limit_exceeded",
    "Unavailable": "unavailable",
    "Internal": "internal",
    "Problem": "internal",
    "AdapterProblem": "unavailable",
    "EgressProblem": "unavailable",
    "problem": "unavailable",
    "Timeout": "unavailable",
}
# Those of them that may be repeated unless the call says otherwise; `problem` of a Target says so each time.
_RETRYABLE = {"LimitExceeded", "Unavailable", "AdapterProblem", "Timeout"}
# Calls that say what is wrong with a document; the code is their keyword `code`, or their second argument.
_ISSUES = {"Fault", "_Fault", "_Unreadable", "ConfigIssue", "Issue", "_fault", "_issue"}
# Dotted texts that are something else by their form (files, modules) or their place (audit events).
_NO_CODE = re.compile(
    r"(nouns|machine|stanchion)\.|.*\.(json|jsonl|yaml|conf|py|log|pid|lock|sock|toml|cedar|cedarschema|sql)\Z"
)
_RECORDS = {"record", "build", "_record"}
# Codes put together at run time, with their parts: an f-string is no constant.
COMPOSED = {
    "blueprint.missing_parameter": "document",
    "blueprint.missing_field": "document",
    "approval.rejected": "conflict",
    "approval.cancelled": "conflict",
}


@dataclass(frozen=True, slots=True)
class Found:
    """What the source says: the kinds of each code that is raised, whether repeating may help (None: it depends on
    what is known only then), and every other constant that looks like a code."""

    kinds: dict[str, set[str]]
    retryable: dict[str, set[bool | None]]
    others: dict[str, str]


@cache
def collect() -> Found:
    """Walk the whole package."""
    kinds: dict[str, set[str]] = defaultdict(set)
    retryable: dict[str, set[bool | None]] = defaultdict(set)
    others: dict[str, str] = {}
    events: set[str] = set()
    for path in sorted(SOURCE.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                events.update(_events(node))
                for code, kind in _of_call(node):
                    kinds[code].add(kind)
                    retryable[code].add(_may_repeat(node))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and _CODE.match(node.value):
                others.setdefault(node.value, f"{path.relative_to(SOURCE)}:{node.lineno}")
    for code, kind in COMPOSED.items():
        kinds[code].add(kind)
        retryable[code].add(False)
    left = {code: place for code, place in others.items() if code not in kinds and code not in events}
    return Found(
        dict(kinds), dict(retryable), {code: place for code, place in left.items() if not _NO_CODE.match(code)}
    )


def _events(call: ast.Call) -> Iterator[str]:
    """The types of audit events that a call records, and the names of the scheduler's duties."""
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    values = [keyword.value for keyword in call.keywords if keyword.arg == "event_type" or name == "Duty"]
    values += call.args if name in _RECORDS else []
    for value in values:
        yield from _constants(value)


def _of_call(call: ast.Call) -> Iterator[tuple[str, str]]:
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    if name in _PROBLEMS and call.args:
        yield from ((code, _PROBLEMS[name]) for code in _constants(call.args[0]))
    elif name in _ISSUES:
        said = [keyword.value for keyword in call.keywords if keyword.arg == "code"] or call.args[1:2]
        yield from ((code, "document") for value in said for code in _constants(value))


def _may_repeat(call: ast.Call) -> bool | None:
    """What the call says by `retryable`, or its class by default."""
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    said = next((keyword.value for keyword in call.keywords if keyword.arg == "retryable"), None)
    if said is None:
        return name in _RETRYABLE
    return said.value if isinstance(said, ast.Constant) else None


def _constants(value: ast.expr) -> Iterator[str]:
    """The codes an argument may be: a constant, or either branch of a conditional one."""
    for node in (value.body, value.orelse) if isinstance(value, ast.IfExp) else (value,):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and _CODE.match(node.value):
            yield node.value
