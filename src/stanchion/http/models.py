"""The base classes of request and response bodies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict
from pydantic.config import JsonDict


def example(value: Mapping[str, object]) -> ConfigDict:
    """The `model_config` of a body whose example in OpenAPI is `value`; a test refuses operations without one."""
    extra: JsonDict = {}
    extra.update({"examples": [dict(value)]})  # type: ignore[dict-item]
    return ConfigDict(json_schema_extra=extra)


def shows(value: object, status: int = 200) -> dict[int | str, dict[str, Any]]:
    """`responses=` of a route whose answer looks otherwise than its body's own example: after a decision, as an item."""
    return {status: {"content": {"application/json": {"example": value}}}}


def asks(value: object) -> dict[str, Any]:
    """`openapi_extra=` of a route that is asked something else than its body's own example."""
    return {"requestBody": {"content": {"application/json": {"example": value}}}}


class Model(BaseModel):
    """A request body: unknown fields are refused, so that a misspelt field is an error and not a silent default."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=False)


class Reply(BaseModel):
    """A response body. Built from a dataclass by `Reply.model_validate(row)`; says exactly its own fields."""

    model_config = ConfigDict(extra="ignore", from_attributes=True)
