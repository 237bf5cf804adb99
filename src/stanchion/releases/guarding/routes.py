"""HTTP: /api/runs/{run_id}/measurements, where others tell what they measured of a run."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter
from pydantic import Field, StringConstraints

from stanchion.http import CtxDep, Model, Reply, example
from stanchion.releases.guarding import service

_ID = "019a9f3e-2f60-7c1c-9e0e-3a1f5d1b7c10"


class MeasurementRequest(Model):
    """What was measured of a run. A metric has one value per run."""

    model_config = example({"metric": "answer_score", "value": 0.8})

    metric: Annotated[str, StringConstraints(min_length=1, max_length=63)] = Field(
        description="Small letters, digits, `_`, `.` and `-`, a letter first."
    )
    value: Annotated[float, Field(ge=0, allow_inf_nan=False)]


class MeasurementReply(Reply):
    """What is kept. `rollouts`: for how many rollouts under way it counts."""

    model_config = example(
        {
            "run_id": _ID,
            "metric": "answer_score",
            "value": 0.8,
            "reported_by": "ada",
            "reported_at": "2026-11-18T09:00:00Z",
            "rollouts": 1,
        }
    )

    run_id: UUID
    metric: str
    value: float
    reported_by: str
    reported_at: datetime
    rollouts: int


def build_router() -> APIRouter:
    """The route of measurements."""
    router = APIRouter(prefix="/api", tags=["runs"])

    @router.post(
        "/runs/{run_id}/measurements",
        summary="Report a measurement",
        operation_id="report_measurement",
        status_code=201,
    )
    async def post_measurement(ctx: CtxDep, run_id: UUID, body: MeasurementRequest) -> MeasurementReply:
        """A score, a cost, an answer to a question about a run: it counts for the guards of a rollout that dealt the run.
        Telling the same again changes nothing; another value is 409."""
        return MeasurementReply.model_validate(await service.report(ctx, run_id, body.metric, body.value))

    return router
