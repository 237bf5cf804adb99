"""The base classes of request and response bodies."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Model(BaseModel):
    """A request body: unknown fields are refused, so that a misspelt field is an error and not a silent default."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=False)


class Reply(BaseModel):
    """A response body. Built from a dataclass by `Reply.model_validate(row)`; says exactly its own fields."""

    model_config = ConfigDict(extra="ignore", from_attributes=True)
