"""An approval shows what will be written (I8): the textual half of that promise, checked at publish.

At run time the effect compares digests of values. Here the document must already write what it shows, so that a
person never approves one thing while another is sent.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from stanchion.base import Json
from stanchion.blueprints.check import Fault
from stanchion.blueprints.scopes import Approval

_WHOLE = re.compile(r"\$\{\s*steps\s*\.\s*([a-z][a-z0-9_]*)\s*(?:\.\s*[A-Za-z_][A-Za-z0-9_]*\s*)*\}\Z")


def shown_by(written: Mapping[str, Json]) -> tuple[Json, ...]:
    """The values a GOVERN shows, as written."""
    show = written.get("show")
    return tuple(show) if isinstance(show, list) else () if show is None else (show,)


def check_push(
    written: Mapping[str, Json], approvals: Sequence[Approval], pointer: str, field: str = "record"
) -> tuple[frozenset[str], Fault | None]:
    """The record's fields that come from the approvals' own outputs, and a fault if the rest is not what was shown.

    `field` is where the verb has what it writes: the `record` of a PUSH, the `arguments` of an EXECUTE. It must be one of
    the shown values as written, or a mapping that equals a shown mapping once its top-level fields of the form
    `${steps.<approval>…}` are left out.
    """
    record = written.get(field, {} if field != "record" else None)
    fields = record if isinstance(record, dict) else {}
    own = frozenset(k for k, v in fields.items() if _comes_from(v, approvals))
    rest: Json = {k: v for k, v in fields.items() if k not in own} if isinstance(record, dict) else record
    for approval in approvals:
        for value in approval.shown:
            if _same(record, value):
                return frozenset(), None
            if _same(rest, value):
                return own, None
    name = approvals[-1].id
    hint = f"Add the {field} to {name}'s show as written here"
    hint += f", without {', '.join(sorted(own))}." if own else "."
    message = f"The approval {name} decides over this write and does not show the {field} that it writes."
    at = f"{pointer}/{field}" if field in written else pointer
    return own, Fault(pointer=at, code="blueprint.not_shown", message=message, hint=hint, at_key=True)


def _comes_from(value: Json, approvals: Sequence[Approval]) -> bool:
    match = _WHOLE.match(value) if isinstance(value, str) else None
    return match is not None and any(match[1] == a.id for a in approvals)


def _same(a: Json, b: Json) -> bool:
    """Equal as written, but for the white space around an expression."""
    if isinstance(a, str) and isinstance(b, str):
        return a == b or _bare(a) == _bare(b) != ""
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_same(v, b[k]) for k, v in a.items())
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(_same(x, y) for x, y in zip(a, b, strict=True))
    return type(a) is type(b) and a == b


def _bare(text: str) -> str:
    match = re.fullmatch(r"\$\{\s*([^{}\"']*?)\s*\}", text)
    return match[1] if match else ""
