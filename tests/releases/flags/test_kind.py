"""Flag documents as artifacts: published, refused with places, retired, shown in usage, kept in diffs like every kind."""

from __future__ import annotations

import pytest

from stanchion import artifacts, releases
from stanchion.artifacts import Document
from stanchion.base import Conflict, Invalid
from stanchion.http import PageParams
from stanchion.releases.flags import FlagKind
from tests.artifacts.support import add_tenants
from tests.releases.flags.support import FLAG, KINDS, SECOND, Stage, document


def issues(source: str) -> list[tuple[str, int, int, str]]:
    parsed = FlagKind().parse(Document(path="f.yaml", source=source), lambda kind, name: None)
    return [(issue.code, issue.line, issue.column, issue.hint) for issue in parsed.issues]


def test_a_flag_is_read_with_its_name_and_owner() -> None:
    parsed = FlagKind().parse(document(), lambda kind, name: None)
    assert (parsed.name, parsed.owner, parsed.references, parsed.issues) == ("new-review-flow", "casework", (), ())
    assert parsed.body["variants"] == {"on": True, "off": False}


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("default: off", "default: of", ("flag.unknown_variant", 6, 10, "Did you mean off?")),
        ("default: off", "defualt: off", ("flag.unknown_field", 6, 1, "Did you mean default?")),
        ("serve: on", "serve: one", ("flag.rule", 9, 12, "Did you mean on?")),
        ("off: false", "off: no", ("flag.variant_type", 5, 27, "All variants have the type that `type` says.")),
        ("owner: casework\n", "", ("flag.owner", 1, 1, "owner: casework")),
        ("owner: casework", "owner: casework\nrisk: huge", ("document.choice", 3, 7, "")),
        ("context.team ==", "contxt.team ==", ("expression.invalid", 8, 34, "")),
    ],
)
def test_what_is_wrong_is_said_where_it_stands(old: str, new: str, expected) -> None:
    assert old in FLAG
    found = issues(FLAG.replace(old, new))
    assert [f[:3] for f in found] == [expected[:3]]
    assert expected[3] in found[0][3]


@pytest.mark.parametrize("source", ["flag: [", "", "- flag", "flag"])
def test_what_is_no_document_is_refused_and_nothing_is_raised(source: str) -> None:
    assert issues(source)


async def test_a_flag_lives_as_every_artifact_does(env) -> None:
    await add_tenants(env, "acme")
    stage = Stage(env)
    assert await stage.apply(document()) == {"new-review-flow": 1}
    assert await stage.apply(SECOND, changelog="Appeals asked for it.") == {"new-review-flow": 2}
    changed = await artifacts.diff(stage.ctx, "flag", "new-review-flow")
    assert [edit.path for edit in changed.changes]
    used = await releases.usage(stage.ctx, "flag", "new-review-flow", version=2)
    assert [(live.environment, live.version, live.standing) for live in used.live] == [("local", 2, "live")]
    with pytest.raises(Conflict) as caught:
        await releases.retire(stage.ctx, "flag", "new-review-flow", 2, reason="gone")
    assert caught.value.code == "artifact.in_use"
    back = await stage.back()
    assert back.moved == (("flag", "new-review-flow", 2, 1),)
    assert (await releases.retire(stage.ctx, "flag", "new-review-flow", 2, reason="gone")).retired_at
    live = await releases.list_releases(stage.ctx, PageParams(limit=10))
    assert [(row.kind, row.name, row.version) for row in live.items] == [("flag", "new-review-flow", 1)]


async def test_a_credential_in_a_flag_is_refused(env) -> None:
    await add_tenants(env, "acme")
    key = "AKIA" + "Z7Q4M2X6P2L3R5T7"
    leaky = document(("{on: true, off: false}", f"{{on: {key}, off: none}}"), ("type: boolean", "type: string"))
    with pytest.raises(Invalid) as caught:
        await Stage(env).apply(leaky)
    assert any("secret" in error["code"] for error in caught.value.fields["errors"])
    assert KINDS["flag"].refs == frozenset()
