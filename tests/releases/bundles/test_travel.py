"""Releases between two deployments: two databases, two environments, two keys."""

from __future__ import annotations

import asyncio
import dataclasses

import pytest

from stanchion import artifacts, audit
from stanchion.artifacts import Parsed
from stanchion.base import Conflict, Denied, Invalid, NotFound
from stanchion.http import PageParams
from stanchion.releases.bundles import (
    ImportChange,
    distrust,
    list_imports,
    list_trusted,
    origins,
    show_import,
)
from stanchion.releases.bundles import types as bundle_types
from stanchion.releases.gates import EvalReport, Verdict, report_eval
from stanchion.releases.revoking import revoke
from tests.releases.bundles.support import Deployment, blueprint, deployed, policy, said

BOTH = [("blueprint", "case-triage"), ("policy", "supervisor-approval")]


@pytest.fixture
async def staging(cluster, tmp_path):
    async with deployed(cluster.clone(), tmp_path / "staging", "staging") as made:
        await made.apply(policy(), blueprint(), changelog="first")
        yield made


@pytest.fixture
async def production(cluster, tmp_path):
    async with deployed(cluster.clone(), tmp_path / "production", "production") as made:
        yield made


async def test_a_release_keeps_its_digests_and_brings_what_it_refers_to(staging: Deployment, production) -> None:
    # Two versions there, so that numbers differ between the deployments.
    await staging.apply(policy(("100000.0", "50000.0")), changelog="Ask sooner.")
    await production.trust(staging)
    made = await staging.export("blueprint/case-triage")
    assert [m.key for m in made.bundle.members] == BOTH
    assert made.bundle.selected == (BOTH[0],)
    assert said(made.data)["origin"]["exported_by"] == "ada"
    taken = await production.take_in(made.data)
    assert [(a.kind, a.version, a.origin_version, a.change.value, a.live) for a in taken.arrived] == [
        ("blueprint", 1, 1, "new", False),
        ("policy", 1, 2, "new", False),
    ]
    assert await production.live() == {}
    await production.apply(*(policy(("100000.0", "50000.0")), blueprint()))
    assert await production.live() == await staging.live()
    (found,) = await production.rows(
        "select source, source_path, owner, author, changelog, labels, risk from artifacts where kind = 'policy'"
    )
    assert found[0] == policy(("100000.0", "50000.0")).source
    assert found[1:] == (
        "policies/supervisor-approval.yaml",
        "casework",
        "ada",
        "Ask sooner.",
        {"team": "fines"},
        "high",
    )


async def test_twice_is_once(staging: Deployment, production) -> None:
    await production.trust(staging)
    made = await staging.export("blueprint/case-triage")
    first = await production.take_in(made.data)
    before = await production.everything()
    again = await production.take_in(made.data)
    assert (first.known, again.known) == (False, True)
    assert {a.change for a in again.arrived} == {ImportChange.UNCHANGED}
    assert await production.everything() == before
    # The same versions in another bundle: noted, and nothing new.
    other = await production.take_in((await staging.export("blueprint/case-triage")).data)
    assert other.bundle.digest != made.bundle.digest
    assert other.bundle.content == made.bundle.content
    assert len(await production.versions()) == 2
    listed = await list_imports(production.ctx, PageParams(limit=1))
    assert [row.digest for row in listed.items] == [other.bundle.digest]
    rest = await list_imports(production.ctx, PageParams(limit=1, after=listed.next))
    assert [row.digest for row in rest.items] == [made.bundle.digest]
    assert rest.next is None
    shown = await show_import(production.ctx, made.bundle.digest)
    assert shown.origin["environment"] == "staging"
    with pytest.raises(NotFound, match="No bundle"):
        await show_import(production.ctx, "sha256:" + "0" * 64)


async def test_two_at_once_give_gapless_versions_and_one_record(staging: Deployment, production) -> None:
    await production.trust(staging)
    data = (await staging.export("blueprint/case-triage")).data
    done = await asyncio.gather(*(production.take_in(data) for _ in range(6)))
    assert sorted(one.known for one in done) == [False] + [True] * 5
    assert [row[2] for row in await production.versions()] == [1, 1]
    assert len(await production.records("release.imported")) == 1


async def test_a_dry_run_says_the_same_and_keeps_nothing(staging: Deployment, production) -> None:
    await production.trust(staging)
    data = (await staging.export(everything=True)).data
    before = await production.everything()
    dry = await production.take_in(data, dry_run=True)
    assert await production.everything() == before
    assert dry == await production.take_in(data)


async def test_everything_that_happened_is_on_record(staging: Deployment, production) -> None:
    await production.trust(staging)
    made = await staging.export("policy/supervisor-approval")
    await production.take_in(made.data, ctx=production.as_("bob", "author"))
    (exported,) = await staging.records("release.exported")
    (imported,) = await production.records("release.imported")
    assert exported["target"]["id"] == imported["target"]["id"] == made.bundle.digest
    assert imported["actor"]["id"] == "bob"
    assert imported["reason"] == audit.digest_of("it was tried")
    assert imported["extra"]["fingerprint"] == staging.key.public.fingerprint
    assert imported["extra"]["origin"] == {"tenant": "acme", "environment": "staging", "exported_by": "ada"}
    # Who wrote it there is known here, for gates that ask who the author is.
    (origin,) = await origins(production.ctx, "policy", "supervisor-approval")
    assert (origin.author, origin.origin_version, origin.bundle) == ("ada", 1, made.bundle.digest)
    assert await origins(staging.ctx, "policy", "supervisor-approval") == []
    await distrust(production.ctx, "staging", reason="new key")
    assert len(await production.records("release.key_trusted")) == 1
    assert (await production.records("release.key_distrusted"))[0]["reason"] == audit.digest_of("new key")


async def test_evidence_travels_bound_to_its_digest(staging: Deployment, production) -> None:
    await production.trust(staging)
    service = dataclasses.replace(
        staging.ctx, actor=dataclasses.replace(staging.ctx.actor, kind="service", principal="evals")
    )
    report = EvalReport(
        suite="fines", suite_digest="sha256:" + "7" * 64, cases=100, passed=98, failed=2, errored=0,
        thresholds={"passed_percent_min": 95},
    )  # fmt: skip
    digest = (await staging.live())["policy", "supervisor-approval"]
    evaluated = [("policy", "supervisor-approval", digest)]
    await report_eval(service, evaluated, report, report_id="e1", verdict=Verdict.PASS, why="98 of 100.")
    made = await staging.export("policy/supervisor-approval")
    await production.take_in(made.data)
    (origin,) = await origins(production.ctx, "policy", "supervisor-approval")
    (record,) = origin.evidence
    assert (record["gate"], record["verdict"], record["by"], record["environment"]) == (
        "eval",
        "PASS",
        "evals",
        "staging",
    )
    assert record["members"][0]["digest"] == made.bundle.members[0].digest


async def test_whose_bundles_are_taken_in(staging: Deployment, production) -> None:
    data = (await staging.export("blueprint/case-triage")).data

    async def refused(code: str) -> None:
        before = await production.everything()
        with pytest.raises(Denied) as caught:
            await production.take_in(data)
        assert caught.value.code == code
        assert await production.everything() == before

    await refused("bundle.untrusted_key")
    # The key is right, but it signs for every tenant there: trust names whose bundles are taken.
    await production.trust(staging, "theirs", origin_tenant="umbra")
    await production.trust(staging, "laboratory", origin_environment="development")
    await refused("bundle.untrusted_origin")
    await production.trust(staging, "staging", origin_environment="staging")
    assert (await production.take_in(data)).signer == "staging"
    for taken in ("staging", "again"):
        with pytest.raises(Conflict) as caught:
            await production.trust(staging, taken, origin_environment="staging")
        assert caught.value.code == "bundle.trusted"
    await distrust(production.ctx, "staging", reason="It leaked.")
    await refused_after(production, data)
    with pytest.raises(NotFound):
        await distrust(production.ctx, "staging", reason="again")
    # Another tenant of the same deployment trusts nobody by it.
    umbra = production.as_("uma", tenant="umbra")
    with pytest.raises(Denied, match="umbra does not trust"):
        await production.take_in(data, ctx=umbra)
    assert (await list_trusted(umbra, PageParams())).items == []
    listed = await list_trusted(production.ctx, PageParams(), removed=True)
    assert {(row.name, row.removed_by) for row in listed.items} == {
        ("theirs", None),
        ("laboratory", None),
        ("staging", "ada"),
    }


async def refused_after(production: Deployment, data: bytes) -> None:
    with pytest.raises(Denied) as caught:
        await production.take_in(data)
    assert caught.value.code == "bundle.untrusted_origin"


async def test_who_may(staging: Deployment, production) -> None:
    await production.trust(staging)
    data = (await staging.export("policy/supervisor-approval")).data
    for role in ("viewer", "approver", "auditor", "operator"):
        with pytest.raises(Denied):
            await production.take_in(data, ctx=production.as_("eve", role))
    with pytest.raises(Denied):
        await staging.export("policy/supervisor-approval", ctx=staging.as_("eve", "viewer"))
    author = production.as_("bob", "author")
    with pytest.raises(Denied):
        await distrust(author, "staging", reason="mine")
    assert (await production.take_in(data, ctx=author)).arrived


async def test_what_cannot_be_exported_is_said(staging: Deployment, monkeypatch) -> None:
    async def refused(code: str, kind, *names: str, **more) -> None:
        with pytest.raises(kind) as caught:
            await staging.export(*names, **more)
        assert (caught.value.code, bool(caught.value.hint)) == (code, True)

    await refused("bundle.nothing", Invalid)
    await refused("release.unknown", NotFound, "policy/nobody")
    await refused("artifact.unknown", NotFound, "policy/supervisor-approval@9")
    await refused("bundle.duplicate", Invalid, "policy/supervisor-approval@1", "policy/supervisor-approval@2")
    monkeypatch.setattr("stanchion.releases.bundles.exporting.MEMBERS_MAX", 1)
    await refused("bundle.too_many", Invalid, "blueprint/case-triage")
    monkeypatch.setattr("stanchion.releases.bundles.envelope.FILE_BYTES_MAX", 1000)
    await refused("bundle.too_large", Invalid, "policy/supervisor-approval")
    assert await staging.records("release.exported") == []
    assert bundle_types.MEMBERS_MAX == 500


async def test_versions_that_are_not_live_travel_when_they_are_named(staging: Deployment, production) -> None:
    await production.trust(staging)
    await staging.apply(policy(("100000.0", "50000.0")))
    made = await staging.export("blueprint/case-triage", "policy/supervisor-approval@1")
    assert [(m.name, m.version, m.live) for m in made.bundle.members] == [
        ("case-triage", 1, True),
        ("supervisor-approval", 1, False),
    ]
    await production.take_in(made.data)
    # The same content written here first: the version that is there is the one that arrives.
    await production.apply(policy(("100000.0", "1.0")))
    again = await production.take_in((await staging.export("policy/supervisor-approval@1")).data)
    assert [(a.version, a.change.value) for a in again.arrived] == [(1, "unchanged")]


async def test_a_reference_that_is_not_there_stops_the_export(staging: Deployment) -> None:
    # A Blueprint that was published for a rollout may refer to a policy that was never live here.
    async with staging.ctx.tx() as tx:
        await artifacts.publish(
            tx,
            staging.ctx,
            "blueprint",
            Parsed(name="lonely", body={}, owner="casework", references=(("policy", "nowhere"),), issues=()),
            blueprint(("case-triage", "lonely")),
        )
    with pytest.raises(Invalid) as caught:
        await staging.export("blueprint/lonely@1")
    assert caught.value.code == "bundle.open_reference"
    assert "policy/nowhere@VERSION" in caught.value.hint


async def test_what_is_revoked_neither_leaves_nor_comes_in(staging: Deployment, production) -> None:
    await production.trust(staging)
    data = (await staging.export("blueprint/case-triage")).data
    await production.take_in(data)
    digest = (await staging.live())["policy", "supervisor-approval"]
    for one, again in (
        (production, lambda: production.take_in(data)),
        (staging, lambda: staging.export("blueprint/case-triage")),
    ):
        await revoke(one.ctx, digest, reason="It lets everything through.")
        with pytest.raises(Conflict) as caught:
            await again()
        assert caught.value.code == "release.revoked"
        assert "supervisor-approval" in caught.value.message


async def test_what_would_break_a_live_artifact_comes_in_and_is_told(staging: Deployment, production) -> None:
    await production.trust(staging)
    await production.apply(policy(), blueprint())
    more = (
        "required: [fine_eur]\n  properties:",
        "required: [fine_eur, country]\n  properties:\n    country: {type: string}",
    )
    await staging.apply(
        policy(more), blueprint(('{fine_eur: "${input.fine_eur}"}', '{fine_eur: "${input.fine_eur}", country: AT}'))
    )
    alone = await production.take_in((await staging.export("policy/supervisor-approval")).data)
    assert [a.version for a in alone.arrived] == [2]
    assert ["case-triage" in misfit for misfit in alone.misfits] == [True]
    together = await production.take_in((await staging.export("blueprint/case-triage")).data)
    assert together.misfits == ()
