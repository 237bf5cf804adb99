from __future__ import annotations

import asyncio
import dataclasses

import pytest

from stanchion.artifacts import Document
from stanchion.base import Denied, Invalid, NotFound
from stanchion.blueprints import Issue
from stanchion.context import Env
from stanchion.db import Database
from stanchion.http import PageParams
from stanchion.releases import apply, list_blueprints, list_releases, show_blueprint, validate
from stanchion.releases.rollouts import history
from tests.artifacts.support import add_tenants, ctx_of
from tests.conftest import make_env
from tests.releases.support import KINDS, apply_all, blueprint, policy, said


@pytest.fixture
async def env(fresh_database_urls):
    async with Database(fresh_database_urls) as db:
        env = make_env(db)
        await add_tenants(env, "acme", "umbra")
        yield env


async def audited(env: Env) -> list[tuple[str, str]]:
    async with env.db.engine_tx() as tx:
        rows = await (await tx.execute("select event_type, target_id from audit_records order by id")).fetchall()
    return [(row[0], row[1]) for row in rows]


async def counts(env: Env) -> tuple[int, int, int]:
    async with env.db.engine_tx() as tx:
        row = await (
            await tx.execute(
                "select (select count(*) from artifacts), (select count(*) from releases),"
                " (select count(*) from audit_records)"
            )
        ).fetchone()
    assert row is not None
    return tuple(row)


async def test_a_set_is_published_live_and_recorded_at_once(env: Env) -> None:
    ctx = ctx_of(env)
    applied = await apply_all(ctx, blueprint(), policy(), changelog="First.")
    assert applied.environment == "local"
    assert said(applied) == [
        ("blueprint", "case-triage", 1, "created"),
        ("policy", "supervisor-approval", 1, "created"),
    ]
    assert sorted(await audited(env)) == sorted(
        [
            ("artifact.published", "blueprint/case-triage"),
            ("release.applied", "blueprint/case-triage"),
            ("artifact.published", "policy/supervisor-approval"),
            ("release.applied", "policy/supervisor-approval"),
        ]
    )
    live = await list_releases(ctx, PageParams())
    assert [(r.kind, r.name, r.version, r.released_by) for r in live.items] == [
        ("blueprint", "case-triage", 1, "ada"),
        ("policy", "supervisor-approval", 1, "ada"),
    ]


async def test_a_second_apply_says_unchanged_and_writes_nothing(env: Env) -> None:
    ctx = ctx_of(env)
    await apply_all(ctx, policy(), blueprint())
    before = await counts(env)
    again = await apply_all(
        ctx, blueprint("case-triage", ("# How a case is triaged.", "# Another comment.")), policy(), changelog="Why?"
    )
    assert said(again) == [
        ("blueprint", "case-triage", 1, "unchanged"),
        ("policy", "supervisor-approval", 1, "unchanged"),
    ]
    assert await counts(env) == before


async def test_only_what_changed_gets_a_version_and_the_old_one_can_come_back(env: Env) -> None:
    ctx = ctx_of(env)
    first = await apply_all(ctx, policy(), blueprint())
    changed = await apply_all(ctx, policy("supervisor-approval", ("100000.0", "5.0")), blueprint())
    assert said(changed) == [
        ("blueprint", "case-triage", 1, "unchanged"),
        ("policy", "supervisor-approval", 2, "updated"),
    ]
    back = await apply_all(ctx, policy())
    assert said(back) == [("policy", "supervisor-approval", 1, "updated")]
    assert back.changes[0].digest == first.changes[1].digest
    # The version was there: the release is recorded, no artifact is.
    assert (await audited(env))[-1] == ("release.applied", "policy/supervisor-approval")
    assert [e for e, _ in await audited(env)].count("artifact.published") == 3
    forth = await apply_all(ctx, policy("supervisor-approval", ("100000.0", "5.0")))
    assert said(forth) == [("policy", "supervisor-approval", 2, "updated")]


async def test_the_record_of_a_release_says_what_was_live_before(env: Env) -> None:
    ctx = ctx_of(env)
    first = await apply_all(ctx, policy())
    second = await apply_all(ctx, policy("supervisor-approval", ("100000.0", "5.0")), changelog="Ask earlier.")
    async with env.db.engine_tx() as tx:
        row = await (
            await tx.execute(
                "select record::jsonb from audit_records where event_type = 'release.applied' order by id desc limit 1"
            )
        ).fetchone()
    assert row is not None
    assert (row[0]["before"], row[0]["after"]) == (first.changes[0].digest, second.changes[0].digest)
    assert (row[0]["extra"]["version_before"], row[0]["extra"]["version"]) == (1, 2)
    assert row[0]["reason"].startswith("sha256:")
    # The audit keeps a digest of the reason; the history has it in words.
    changes = await history(ctx, "policy", "supervisor-approval", PageParams())
    assert [(c.event, c.version_before, c.version, c.reason) for c in changes.items] == [
        ("release.applied", 1, 2, "Ask earlier."),
        ("release.applied", None, 1, ""),
    ]


async def test_one_error_refuses_the_set_and_says_all(env: Env) -> None:
    ctx = ctx_of(env)
    with pytest.raises(Invalid) as caught:
        await apply_all(ctx, policy(), blueprint("one", ("show:", "shw:")), blueprint("two", ("owner: casework\n", "")))
    assert caught.value.code == "apply.invalid"
    errors = caught.value.fields["errors"]
    assert isinstance(errors, list)
    assert {e["file"] for e in errors} == {"blueprints/one.yaml", "blueprints/two.yaml"}
    assert set(errors[0]) == {"file", "line", "column", "step", "code", "message", "hint", "pointer"}
    assert await counts(env) == (0, 0, 0)


async def test_a_change_that_breaks_a_live_blueprint_is_refused(env: Env) -> None:
    ctx = ctx_of(env)
    await apply_all(ctx, policy(), blueprint())
    before = await counts(env)
    with pytest.raises(Invalid) as caught:
        await apply_all(ctx, policy("supervisor-approval", ("fine_eur", "amount")))
    errors = caught.value.fields["errors"]
    assert isinstance(errors, list)
    assert {e["code"] for e in errors} == {"release.incompatible"}
    assert {e["file"] for e in errors} == {"blueprints/case-triage.yaml"}
    assert await counts(env) == before
    both = await apply_all(
        ctx,
        policy("supervisor-approval", ("fine_eur", "amount")),
        blueprint("case-triage", ("facts: {fine_eur:", "facts: {amount:")),
    )
    assert {c.change.value for c in both.changes} == {"updated"}


async def test_a_dry_run_foresees_and_writes_nothing(env: Env) -> None:
    ctx = ctx_of(env)
    foreseen = await apply_all(ctx, policy(), blueprint(), dry_run=True)
    assert await counts(env) == (0, 0, 0)
    assert foreseen == await apply_all(ctx, policy(), blueprint())
    before = await counts(env)
    change = policy("supervisor-approval", ("100000.0", "5.0"))
    foreseen = await apply_all(ctx, change, blueprint(), dry_run=True)
    assert await counts(env) == before
    assert said(foreseen) == [
        ("blueprint", "case-triage", 1, "unchanged"),
        ("policy", "supervisor-approval", 2, "updated"),
    ]
    assert foreseen == await apply_all(ctx, change, blueprint())
    with pytest.raises(Invalid):
        await apply_all(ctx, blueprint("x", of="nobody"), dry_run=True)


async def test_validate_answers_with_the_issues_and_writes_nothing(env: Env) -> None:
    ctx = ctx_of(env)
    good = await validate(ctx, [policy(), blueprint()], kinds=KINDS)
    assert good.issues == ()
    bad = await validate(ctx, [blueprint()], kinds=KINDS)
    assert [i.code for i in bad.errors] == ["blueprint.unknown_artifact"]
    await apply_all(ctx, policy())
    assert (await validate(ctx, [blueprint()], kinds=KINDS)).issues == ()


async def test_fifty_concurrent_applies_are_gapless_and_the_last_one_is_live(env: Env) -> None:
    ctx = ctx_of(env)
    await apply_all(ctx, policy(), blueprint())
    results = await asyncio.gather(
        *(apply_all(ctx, policy("supervisor-approval", ("100000.0", f"{n}.5"))) for n in range(50))
    )
    changes = [r.changes[0] for r in results]
    assert sorted(c.version for c in changes) == list(range(2, 52))
    assert {c.change.value for c in changes} == {"updated"}
    live = next(r for r in (await list_releases(ctx, PageParams())).items if r.kind == "policy")
    assert live.version == 51
    events = await audited(env)
    assert events.count(("release.applied", "policy/supervisor-approval")) == 51


async def test_concurrent_sets_that_only_fit_together_never_go_live_in_part(env: Env) -> None:
    ctx = ctx_of(env)
    await apply_all(ctx, policy(), blueprint())
    sets = [
        (policy(), blueprint()),
        (
            policy("supervisor-approval", ("fine_eur", "amount")),
            blueprint("case-triage", ("facts: {fine_eur:", "facts: {amount:")),
        ),
    ]
    await asyncio.gather(*(apply_all(ctx, *sets[n % 2]) for n in range(10)))
    live = {r.kind: r.version for r in (await list_releases(ctx, PageParams())).items}
    assert live["policy"] == live["blueprint"]
    assert (
        await validate(
            ctx,
            [blueprint("probe", ("facts: {fine_eur:", f"facts: {{{'fine_eur' if live['policy'] == 1 else 'amount'}:"))],
            kinds=KINDS,
        )
    ).issues == ()


async def test_another_tenant_sees_nothing_and_numbers_its_own(env: Env) -> None:
    ours, theirs = ctx_of(env), ctx_of(env, "umbra")
    await apply_all(ours, policy(), blueprint())
    assert (await list_releases(theirs, PageParams())).items == []
    assert (await list_blueprints(theirs, PageParams())).items == []
    with pytest.raises(NotFound) as caught:
        await show_blueprint(theirs, "case-triage")
    assert caught.value.code == "blueprint.unknown"
    with pytest.raises(Invalid):
        await apply_all(theirs, blueprint())
    assert {c.version for c in (await apply_all(theirs, policy(), blueprint())).changes} == {1}
    async with theirs.tx() as tx:
        row = await (await tx.execute("select count(*) from releases where tenant = 'acme'")).fetchone()
        assert row == (0,)
        assert (await tx.execute("update releases set version = 1 where tenant = 'acme'")).rowcount == 0


async def test_environments_of_one_store_are_apart(env: Env) -> None:
    staging = make_env(env.db, environment="staging")
    await apply_all(ctx_of(env), policy(), blueprint())
    assert (await list_releases(ctx_of(staging), PageParams())).items == []
    applied = await apply_all(ctx_of(staging), policy(), blueprint())
    assert {(c.version, c.change.value) for c in applied.changes} == {(1, "created")}
    assert (await counts(env))[0] == 2


async def test_blueprints_are_listed_and_shown(env: Env) -> None:
    ctx = ctx_of(env)
    await apply_all(ctx, policy(), blueprint("one"), blueprint("two"))
    await apply_all(ctx, blueprint("one", ("description: Ask", "description: Do ask")))
    await apply_all(ctx, blueprint("one"))
    page = await list_blueprints(ctx, PageParams(limit=1))
    assert [(b.name, b.version, b.description) for b in page.items] == [
        ("one", 1, "Ask a supervisor about high fines.")
    ]
    rest = await list_blueprints(ctx, PageParams(limit=1, after=page.next))
    assert ([b.name for b in rest.items], rest.next) == (["two"], None)
    shown, live = await show_blueprint(ctx, "one")
    assert live is not None
    assert (shown.version, live.version) == (1, 1)
    newer, live = await show_blueprint(ctx, "one", 2)
    assert live is not None
    assert (newer.version, live.version) == (2, 1)
    with pytest.raises(NotFound):
        await show_blueprint(ctx, "one", 3)
    with pytest.raises(NotFound):
        await show_blueprint(ctx, "nobody")
    releases = await list_releases(ctx, PageParams(limit=2))
    assert len((await list_releases(ctx, PageParams(limit=2, after=releases.next))).items) == 1


class Deny:
    def __init__(self, *actions: str) -> None:
        self.actions = actions

    def check(self, actor, action, resource) -> None:
        if not self.actions or action in self.actions:
            raise Denied("auth.denied", f"{action} is not permitted.")


async def test_every_verb_asks_first(env: Env) -> None:
    ctx = ctx_of(make_env(env.db, authorizer=Deny()))
    for call in (
        apply(ctx, [policy()], kinds=KINDS),
        apply(ctx, [policy()], kinds=KINDS, dry_run=True),
        validate(ctx, [policy()], kinds=KINDS),
        list_releases(ctx, PageParams()),
        list_blueprints(ctx, PageParams()),
        show_blueprint(ctx, "x"),
    ):
        with pytest.raises(Denied):
            await call
    publisher = ctx_of(make_env(env.db, authorizer=Deny("artifacts.publish")))
    for dry_run in (True, False):
        with pytest.raises(Denied):
            await apply(publisher, [policy()], kinds=KINDS, dry_run=dry_run)
    assert await counts(env) == (0, 0, 0)


async def test_warnings_refuse_nothing(env: Env) -> None:
    class Warning_:
        kind = "policy"
        refs = frozenset()

        def parse(self, document, lookup):
            parsed = KINDS["policy"].parse(document, lookup)
            issue = Issue(
                code="policy.old",
                message="Old.",
                hint="",
                file=document.path,
                line=1,
                column=1,
                step=None,
                pointer="",
                severity="warning",
            )
            return dataclasses.replace(parsed, issues=(*parsed.issues, issue))

    applied = await apply(ctx_of(env), [policy()], kinds={**KINDS, "policy": Warning_()})
    assert [i.code for i in applied.warnings] == ["policy.old"]
    assert said(applied) == [("policy", "supervisor-approval", 1, "created")]


async def test_an_unreadable_document_is_refused_with_its_place(env: Env) -> None:
    with pytest.raises(Invalid) as caught:
        await apply_all(ctx_of(env), Document(path="b.yaml", source="blueprint: x\nsteps: [\n"))
    errors = caught.value.fields["errors"]
    assert isinstance(errors, list)
    assert errors[0]["code"] == "document.syntax"
    assert errors[0]["line"] >= 2
