"""The base classes of request and response bodies."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict
from pydantic.config import JsonDict


def example(value: Mapping[str, object]) -> ConfigDict:
    """The `model_config` of a body whose example in OpenAPI is `value`; a test refuses operations without one."""
    extra: JsonDict = {}
    extra.update({"examples": [dict(value)]})  # type: ignore[dict-item]
    return ConfigDict(json_schema_extra=extra)


class Model(BaseModel):
    """A request body: unknown fields are refused, so that a misspelt field is an error and not a silent default."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=False)


class Reply(BaseModel):
    """A response body. Built from a dataclass by `Reply.model_validate(row)`; says exactly its own fields."""

    model_config = ConfigDict(extra="ignore", from_attributes=True)
