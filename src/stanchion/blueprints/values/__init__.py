"""The artifact kind `config`: values that change behaviour (thresholds, limits, texts), typed, and per environment.

A config is one document for all environments. What differs in one of them stands in its overlay and is resolved where the
value is used, so that a version has one digest everywhere. Its types are those of its JSON Schema, or are told from the
values; expressions are checked against them, so they are the same in every environment too (adr/0014).
"""

from stanchion.blueprints.values.kind import CONFIG_SCHEMA, ConfigKind
from stanchion.blueprints.values.reading import (
    Configs,
    config_schema,
    config_scope,
    config_set_here,
    config_values,
    configs_read,
)

__all__ = [
    "CONFIG_SCHEMA",
    "ConfigKind",
    "Configs",
    "config_schema",
    "config_scope",
    "config_set_here",
    "config_values",
    "configs_read",
]
