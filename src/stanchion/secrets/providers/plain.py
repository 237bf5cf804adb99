"""What variables and files have in common: one text, whose fields, if it has any, are a JSON object; no versions."""

from __future__ import annotations

from stanchion.base import Invalid, NotFound, loads
from stanchion.secrets.providers.types import Values
from stanchion.secrets.references import DEFAULT_FIELD


def values_of(text: str) -> Values:
    """The whole text as field `value`; the texts of a JSON object besides, each under its name."""
    fields = {DEFAULT_FIELD: text}
    if text.startswith("{"):
        try:
            found = loads(text)
        except Invalid:
            found = None  # a text that merely begins like an object
        if isinstance(found, dict):
            fields.update({name: value for name, value in found.items() if isinstance(value, str)})
    return Values(fields=fields)


def refuse_version(provider: str, path: str, version: int | None) -> None:
    """Return if no version is asked for. Raises NotFound `secret.unknown_version`."""
    if version is not None:
        raise NotFound(
            "secret.unknown_version",
            f"secret://{provider}/{path}@{version}: the provider {provider} has no versions.",
            hint="Leave out @version.",
        )


def unknown(name: str, why: str, hint: str) -> NotFound:
    """The problem of a secret that a provider does not have."""
    return NotFound("secret.unknown", f"There is no secret {name}: {why}.", hint=hint, name=name)
