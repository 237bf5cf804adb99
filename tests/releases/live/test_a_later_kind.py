"""A kind that Stanchion does not have yet registers itself, with a verb of its own, and is shown like every other."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from stanchion import runs
from stanchion.approvals import GovernHandler, PendingApprovals
from stanchion.artifacts import KINDS
from stanchion.base.settings import Settings
from stanchion.blueprints import Document, Parsed, Specimen, program_from_body, read_document
from stanchion.bootstrap.parts import Parts, build_parts
from stanchion.context import Env
from stanchion.releases import Resolver
from stanchion.runs import StepResult
from tests.releases.live import test_every_kind
from tests.releases.live.support import named_by_verbs, registered, scene_on

# One of the kinds that there will be, and that nobody has registered yet.
KIND = max(KINDS - set(registered()), default="")
pytestmark = pytest.mark.skipif(not KIND, reason="every kind has registered, and is shown itself")
FIRST = f"{KIND}: specimen-later\nowner: specimen\nword: first\n"
USE = """\
blueprint: specimen-of-later
owner: specimen
steps:
  - id: used
    use: {name: specimen-later}
output: ${steps.used.word}
"""


class LaterKind:
    kind = KIND
    refs = frozenset[str]()
    specimen = Specimen(
        first=Document(path="specimen-later.yaml", source=FIRST),
        second=Document(path="specimen-later.yaml", source=FIRST.replace("first", "second")),
        others=(Document(path="specimen-of-later.yaml", source=USE),),
    )

    def parse(self, document, lookup) -> Parsed:
        body = read_document(document).body
        return Parsed(name=body[KIND], body=body, owner=body["owner"], references=(), issues=())


class Use:
    """A verb that says the word of what its run is pinned to."""

    verb = "use"
    effect = "none"
    suspends = False

    @property
    def config_schema(self):
        return {
            "type": "object",
            "required": ["name"],
            "additionalProperties": False,
            "properties": {"name": {"type": "string", "x-artifact": KIND}},
        }

    def check(self, config, lookup):
        return ()

    def output_schema(self, config, lookup, types):
        return {"type": "object", "required": ["word"], "properties": {"word": {"type": "string"}}}

    async def execute(self, env: Env, call) -> StepResult:
        return StepResult(output={"word": call.bodies[KIND, call.config["name"]]["word"]})


def with_later(build):
    """The parts of a deployment in which kind and verb registered."""

    def build_parts(env: Env, settings: Settings) -> Parts:
        made = build(env, settings)
        verbs = {**made.verbs, "use": Use()}
        kinds = {**made.kinds, KIND: LaterKind(), "blueprint": type(made.kinds["blueprint"])(verbs)}
        resolver = Resolver(env, lambda body, lookup: program_from_body(body, verbs, lookup))
        return dataclasses.replace(made, verbs=verbs, kinds=kinds, resolver=resolver)

    return build_parts


@asynccontextmanager
async def worker_of(env: Env, settings: Settings) -> AsyncIterator[runs.Worker]:
    parts = build_parts(env, settings)
    handlers = (runs.TransformHandler(), GovernHandler(), Use())
    yield runs.Worker(
        env, {h.verb: h for h in handlers}, parts.resolver, specs=parts.verbs.values(), name="w", hook=PendingApprovals(env)
    )  # fmt: skip


@pytest.fixture
def registers(monkeypatch: pytest.MonkeyPatch) -> None:
    later = with_later(build_parts)
    for module in (__name__, "tests.releases.live.support", "stanchion.bootstrap.web"):
        monkeypatch.setattr(f"{module}.build_parts", later)


async def test_a_kind_is_picked_up_by_registering_itself(registers, fresh_database_urls, tmp_path: Path) -> None:
    assert KIND in registered()
    async with scene_on(fresh_database_urls, tmp_path, working=worker_of, only=(KIND, "blueprint")) as scene:
        await test_every_kind.show_canary(scene, KIND, 60)


def test_a_kind_without_a_specimen_is_asked_for_one(registers, monkeypatch: pytest.MonkeyPatch) -> None:
    assert KIND in named_by_verbs()
    monkeypatch.setattr(LaterKind, "specimen", None)
    monkeypatch.setattr(test_every_kind, "KINDS", registered())
    with pytest.raises(AssertionError, match=rf"\['{KIND}'\] registered without a specimen"):
        test_every_kind.test_every_kind_that_a_run_depends_on_has_a_specimen()
