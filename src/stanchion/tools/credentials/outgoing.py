"""A request as it is put together, before and after credentials are at their sites. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal
from urllib.parse import urlencode

from yarl import URL

from stanchion.base import Json, dumps


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """One HTTP request. `payload` is its body as JSON has it, None for none; `form` says to send it as a form."""

    method: str
    url: URL
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    payload: Json = None
    has_body: bool = False
    encoding: Literal["json", "form"] = "json"

    def content(self) -> bytes | None:
        """The body's bytes, or None."""
        if not self.has_body:
            return None
        return form_of(self.payload) if self.encoding == "form" else dumps(self.payload)

    def content_type(self) -> str:
        """What the body is."""
        return "application/x-www-form-urlencoded" if self.encoding == "form" else "application/json"

    def with_headers(self, headers: Mapping[str, str]) -> Outgoing:
        """The same with these headers in place of those of the same names, in any case."""
        new = {name.lower() for name in headers}
        kept = {name: value for name, value in self.headers.items() if name.lower() not in new}
        return replace(self, headers={**kept, **headers})


def form_of(payload: Json) -> bytes:
    """A flat object as a form: lists repeat their name, a null is not sent. Raises ValueError for what a form cannot hold."""
    if not isinstance(payload, dict):
        raise ValueError("is not an object, which a form needs")  # noqa: TRY004 - a value of JSON
    pairs: list[tuple[str, str]] = []
    for name, value in payload.items():
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, dict | list):
                raise ValueError(f"has in {name!r} what a form cannot hold")  # noqa: TRY004 - a value of JSON
            if item is not None:
                pairs.append((name, text_of(item)))
    return urlencode(pairs).encode("ascii")


def text_of(value: Json) -> str:
    """A scalar as a query, a form or a header has it."""
    return {True: "true", False: "false"}[value] if isinstance(value, bool) else str(value)
