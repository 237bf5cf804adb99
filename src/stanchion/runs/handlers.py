"""TRANSFORM: one value computed from others. The engine has evaluated the config before a handler sees it."""

from __future__ import annotations

from stanchion.context import Env
from stanchion.runs.types import StepCall, StepResult


class TransformHandler:
    """Returns `{value}`, the evaluated template."""

    verb = "transform"
    effect = "none"
    instant = True

    async def execute(self, env: Env, call: StepCall) -> StepResult:  # noqa: ARG002 - the port
        """The evaluated value; cannot fail."""
        return StepResult(output={"value": call.config["value"]})
