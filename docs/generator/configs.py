"""The fields of a config."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from docs.generator.tables import Field, fields

from stanchion.blueprints import CONFIG_SCHEMA

_CONFIG = {
    "config": Field("risk-limits", "The name; expressions write underscores for its dashes."),
    "description": Field("Above what a person decides.", "What it is for.", "empty"),
    "owner": Field("casework", "The team that answers for it."),
    "labels": Field("{team: casework}", "Texts by which it is found; part of the version.", "none"),
    "risk": Field("high", "What a mistake in it can do; policy says which releases a level permits.", "`low`"),
    "schema": Field(
        "{type: object, required: [fine_eur], properties: {fine_eur: {type: integer, minimum: 0}}}",
        "JSON Schema of the values, an object.",
        "told from the values",
    ),
    "values": Field("{fine_eur: 100000}", "Each key with its value: any JSON."),
    "environments": Field(
        "{production: {fine_eur: 50000}}", "By environment, the values that are different there.", "none"
    ),
}

PARTS: Mapping[str, Callable[[], str]] = {
    "configs.fields": lambda: fields(CONFIG_SCHEMA, _CONFIG, "config"),
}
