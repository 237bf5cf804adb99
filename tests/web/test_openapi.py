"""The application answers whatever is sent to it as its OpenAPI document says, and never with a defect.

`complete_app` of conftest.py makes the application as the web process does, with the routes of every domain.
"""

from __future__ import annotations

from contextlib import asynccontextmanager

import pytest
import requests
from fastapi import APIRouter
from schemathesis.core.failures import FailureGroup

from stanchion.http import CtxDep, Model
from stanchion.web import without_example
from tests.support.fuzz import SETTINGS, Served, fuzz, served


@pytest.fixture(scope="module")
def target(cluster, complete_app):
    with served(complete_app, cluster.clone()) as found:
        yield found


@pytest.fixture(scope="module")
def session():
    with requests.Session() as made:
        yield made


def names(found: Served) -> set[str]:
    return {f"{o.method.upper()} {o.path}" for o in found.operations()}


def test_the_document_is_whole(target):
    assert without_example(target.document) == []
    assert {
        "GET /api/whoami",
        "POST /api/keys",
        "GET /metrics",
        "GET /api/runs/{run_id}",
        "POST /api/artifacts/apply",
    } <= names(target)


# Each part has every so-many-th operation, and may run beside the others.
PARTS = [pytest.param(part, marks=pytest.mark.xdist_group(f"openapi-{part}")) for part in range(4)]


@pytest.mark.parametrize("part", PARTS)
def test_every_operation_answers_as_documented(target, session, part):
    _fuzz_all(target, session, part, examples=12)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("part", PARTS)
def test_every_operation_answers_as_documented_at_length(target, session, part):
    _fuzz_all(target, session, part, examples=300)


def _fuzz_all(target, session, part: int, *, examples: int) -> None:
    """Every operation of the part is tried, also after one has failed: a run of minutes should tell all it found."""
    found = []
    operations = target.operations()[part :: len(PARTS)]
    assert len(operations) > 10
    for operation in operations:
        try:
            assert fuzz(target, operation, examples=examples, session=session) >= 1, operation.label
        except (FailureGroup, AssertionError) as error:
            found.append(f"{operation.label}: {error}")
    assert not found, "\n\n".join(found)


class Planted(Model):
    n: int


def planted() -> APIRouter:
    router = APIRouter()

    @router.post("/api/planted")
    async def planted_defect(ctx: CtxDep, body: Planted) -> int:
        if body.n > 100:
            raise ZeroDivisionError
        return body.n

    @router.get("/api/untrue")
    async def untrue_reply(ctx: CtxDep) -> int:
        from fastapi.responses import JSONResponse

        return JSONResponse({"not": "a number"})  # type: ignore[return-value]

    return router


@pytest.mark.parametrize(("path", "told"), [("/api/planted", "Server error"), ("/api/untrue", "schema")])
def test_a_planted_defect_is_found(cluster, session, path, told):
    """The positive control: what the fuzzer is for, it does."""

    @asynccontextmanager
    async def make(stage):
        yield stage.app(planted(), settings=SETTINGS)

    with served(make, cluster.clone()) as found:
        [operation] = [o for o in found.operations() if o.path == path]
        with pytest.raises(FailureGroup) as group:
            fuzz(found, operation, examples=60, session=session)
    assert told in str(group.value.exceptions[0])
