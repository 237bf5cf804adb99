"""Which Python model stands for which statement: by the store function that runs it, never by the SQL text.

A model is `def model(tx, params)` or `async def model(tx, params)` (where it may have to wait for a lock); `tx` is a
transaction.SimTx, `params` what the store passed to psycopg. It returns the rows as dicts in the order of the
columns, or the number of rows changed for a statement that returns none.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Awaitable, Callable, Generator
from typing import Any

Rows = list[dict[str, Any]]
Model = Callable[[Any, Any], Rows | int | Awaitable[Rows | int]]
Key = tuple[str, str]

MODELS: dict[Key, Model] = {}
CALLS: dict[Key, int] = {}
_by_text: dict[str, Key] = {}


class UnmodelledStatement(Exception):  # noqa: N818 - names what is missing
    """A query was run for which no model is registered."""


def models(module: str, function: str) -> Callable[[Model], Model]:
    """Register the decorated model for the statement of `module.function` (several names may share one model)."""

    def register(model: Model) -> Model:
        MODELS[module, function] = model
        CALLS[module, function] = 0
        return model

    return register


@contextlib.contextmanager
def replaced(module: str, function: str, model: Callable[[Model], Model]) -> Generator[None]:
    """Within the block the statement's model is `model(original)`: a planted defect."""
    key = (module, function)
    original = MODELS[key]
    MODELS[key] = model(original)
    try:
        yield
    finally:
        MODELS[key] = original


def key_of(text: str) -> Key:
    """The store function that runs `text`: the nearest function on the stack that has a model. Coroutines that await
    are on the stack while the innermost runs. Raises UnmodelledStatement."""
    key = _by_text.get(text)
    if key is None:
        key = _by_text[text] = _search(text)
    return key


def _search(text: str) -> Key:
    frame = inspect.currentframe()
    seen: list[str] = []
    while frame is not None:
        key = (str(frame.f_globals.get("__name__")), frame.f_code.co_name)
        if key in MODELS:
            return key
        if key[0].startswith("stanchion.") and key[0] != "stanchion.db.tx":
            seen.append(".".join(key))
        frame = frame.f_back
    raise UnmodelledStatement(
        f"No model for the statement of {seen[0] if seen else 'a caller outside stanchion'}:\n{text.strip()}\n"
        "Add one in tests/simulation/store/statements, registered with @models(module, function)."
    )
