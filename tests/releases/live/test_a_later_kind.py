"""A kind that Stanchion does not have yet registers itself, with a verb of its own, and is shown like every other."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from stanchion import bootstrap, runs
from stanchion.approvals import GovernHandler, PendingApprovals
from stanchion.base.settings import Settings
from stanchion.blueprints import Document, Parsed, Specimen, program_from_body, read_document
from stanchion.context import Env
from stanchion.releases import Resolver
from stanchion.runs import StepResult
from tests.releases.live import test_every_kind
from tests.releases.live.support import named_by_verbs, registered, scene_on

TUNE = "tool: specimen-tool\nowner: specimen\nword: first\n"
USE = """\
blueprint: specimen-of-tool
owner: specimen
steps:
  - id: used
    use: {tool: specimen-tool}
output: ${steps.used.word}
"""


class ToolKind:
    kind = "tool"
    refs = frozenset[str]()
    specimen = Specimen(
        first=Document(path="specimen-tool.yaml", source=TUNE),
        second=Document(path="specimen-tool.yaml", source=TUNE.replace("first", "second")),
        others=(Document(path="specimen-of-tool.yaml", source=USE),),
    )

    def parse(self, document, lookup) -> Parsed:
        body = read_document(document).body
        return Parsed(name=body["tool"], body=body, owner=body["owner"], references=(), issues=())


class Use:
    """A verb that says the word of the tool its run is pinned to."""

    verb = "use"
    effect = "none"
    suspends = False

    @property
    def config_schema(self):
        return {
            "type": "object",
            "required": ["tool"],
            "additionalProperties": False,
            "properties": {"tool": {"type": "string", "x-artifact": "tool"}},
        }

    def check(self, config, lookup):
        return ()

    def output_schema(self, config, lookup, types):
        return {"type": "object", "required": ["word"], "properties": {"word": {"type": "string"}}}

    async def execute(self, env: Env, call) -> StepResult:
        return StepResult(output={"word": call.bodies["tool", call.config["tool"]]["word"]})


def with_tools(build):
    """The parts of a deployment in which kind and verb registered."""

    def build_parts(env: Env, settings: Settings) -> bootstrap.Parts:
        made = build(env, settings)
        verbs = {**made.verbs, "use": Use()}
        kinds = {**made.kinds, "tool": ToolKind(), "blueprint": type(made.kinds["blueprint"])(verbs)}
        resolver = Resolver(env, lambda body, lookup: program_from_body(body, verbs, lookup))
        return dataclasses.replace(made, verbs=verbs, kinds=kinds, resolver=resolver)

    return build_parts


@asynccontextmanager
async def worker_of(env: Env, settings: Settings) -> AsyncIterator[runs.Worker]:
    parts = bootstrap.build_parts(env, settings)
    handlers = (runs.TransformHandler(), GovernHandler(), Use())
    yield runs.Worker(
        env, {h.verb: h for h in handlers}, parts.resolver, specs=parts.verbs.values(), name="w", hook=PendingApprovals(env)
    )  # fmt: skip


@pytest.fixture
def registers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "build_parts", with_tools(bootstrap.build_parts))


async def test_a_kind_is_picked_up_by_registering_itself(registers, fresh_database_urls, tmp_path: Path) -> None:
    assert "tool" in registered()
    async with scene_on(fresh_database_urls, tmp_path, working=worker_of, only=("tool", "blueprint")) as scene:
        await test_every_kind.show_canary(scene, "tool", 60)


def test_a_kind_without_a_specimen_is_asked_for_one(registers, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "tool" in named_by_verbs()
    monkeypatch.setattr(ToolKind, "specimen", None)
    monkeypatch.setattr(test_every_kind, "KINDS", registered())
    with pytest.raises(AssertionError, match=r"\['tool'\] registered without a specimen"):
        test_every_kind.test_every_kind_that_a_run_depends_on_has_a_specimen()
