"""Setting, rotating, granting and removing secrets, and what a connector gets of them."""

from __future__ import annotations

import asyncio

import psycopg
import pytest

from stanchion.base import Problem
from stanchion.context import Ctx
from stanchion.http import PageParams
from stanchion.identity import create_tenant
from stanchion.secrets import SecretRef
from stanchion.secrets.keeping import (
    Reference,
    Sealed,
    check_secrets,
    end_due,
    grant_secret,
    list_secrets,
    remove_secret,
    set_secret,
    ungrant_secret,
)

VALUE = "pl4nted-t0ken"


async def refused(awaitable) -> Problem:
    with pytest.raises(Problem) as caught:
        await awaitable
    assert "pl4nted" not in repr(caught.value.__dict__) + str(caught.value)
    return caught.value


async def test_a_secret_that_was_set_is_had_by_the_connector_it_is_granted_to(safe):
    kept = await safe.set("erp/api-key", VALUE)
    assert (kept.name, kept.version, kept.fields, kept.connectors) == ("local/erp/api-key", 1, ("value",), ("erp",))
    assert (kept.environment, kept.set_by) == ("local", "admin")
    found = await safe.get("secret://local/erp/api-key")
    assert (found.reveal(), found.version) == (VALUE, 1)
    assert (await safe.get("secret://local/erp/api-key@1")).reveal() == VALUE


async def test_another_environment_and_another_connector_get_nothing(safe):
    await safe.set("erp/api-key", VALUE, environment="production")
    wrong = await refused(safe.get("secret://local/erp/api-key"))
    assert (wrong.kind, wrong.code) == ("denied", "secret.wrong_environment")
    assert "issued to production" in wrong.message
    other = await refused(safe.get("secret://local/erp/api-key", environment="production", connector="ledger"))
    assert (other.kind, other.code) == ("denied", "secret.not_granted")
    assert other.hint == "stanchion secret grant local/erp/api-key --connector ledger"
    assert (await safe.get("secret://local/erp/api-key", environment="production")).reveal() == VALUE


async def test_what_there_is_not_says_what_there_is(safe):
    await safe.set("erp/db", {"user": "erp", "password": VALUE})
    assert (await refused(safe.get("secret://local/erp/dbx"))).code == "secret.unknown"
    field = await refused(safe.get("secret://local/erp/db#passwort"))
    assert (field.code, field.hint) == ("secret.unknown_field", "Did you mean #password?")
    assert (await refused(safe.get("secret://local/erp/db@2#password".replace("@2#password", "#password@2")))).code == (
        "secret.unknown_version"
    )
    off = await refused(safe.get("secret://vault/erp/db"))
    assert off.code == "secret.unknown"  # nobody granted it: whether there is a Vault is not even asked
    assert (await safe.get("secret://local/erp/db#user")).reveal() == "erp"


async def test_a_rotation_gives_the_new_value_and_keeps_the_old_one_for_its_grace(safe):
    await safe.set("erp/api-key", VALUE)
    assert (await safe.get("secret://local/erp/api-key")).reveal() == VALUE
    kept = await safe.rotate("erp/api-key", "pl4nted-2", grace_s=60)
    assert (kept.version, kept.previous) == (2, (1,))
    safe.clock.pass_s(2)  # as long as things are kept
    ref = SecretRef.parse("secret://local/erp/api-key")
    assert (await safe.get(str(ref))).reveal() == "pl4nted-2"
    before = await safe.resolver.previous("default", ref, environment="local", connector="erp")
    assert before is not None
    assert (before.reveal(), before.version) == (VALUE, 1)
    assert (await safe.get("secret://local/erp/api-key@1")).reveal() == VALUE
    safe.clock.pass_s(58)
    # Kept or not: the moment its grace ends, it is not given.
    assert await safe.resolver.previous("default", ref, environment="local", connector="erp") is None
    assert (await refused(safe.get("secret://local/erp/api-key@1"))).code == "secret.version_ended"
    assert await end_due(safe.ctx.env) == 1
    assert await end_due(safe.ctx.env) == 0
    assert (await refused(safe.get("secret://local/erp/api-key@1"))).code == "secret.version_ended"
    assert (await safe.get(str(ref))).reveal() == "pl4nted-2"


async def test_calls_under_a_rotation_always_get_a_value_that_is_valid(safe):
    """Before, while and after: each resolution gives the current value or the one whose grace lasts, none fails."""
    await safe.set("erp/api-key", "v1")
    seen: list[str] = []

    async def calls() -> None:
        while len(seen) < 400:
            seen.append((await safe.get("secret://local/erp/api-key")).reveal())
            safe.clock.pass_s(0.05)
            await asyncio.sleep(0)

    async def rotations() -> None:
        for number in range(2, 6):
            await safe.rotate("erp/api-key", f"v{number}", grace_s=3600)

    await asyncio.gather(calls(), rotations())
    assert set(seen) <= {f"v{number}" for number in range(1, 6)}
    assert seen == sorted(seen)  # never back to an older one
    safe.clock.pass_s(2)
    assert (await safe.get("secret://local/erp/api-key")).reveal() == "v5"


async def test_with_no_grace_the_old_value_is_erased_at_once(safe):
    await safe.set("erp/api-key", VALUE)
    kept = await safe.rotate("erp/api-key", "pl4nted-2", grace_s=0)
    assert (kept.version, kept.previous) == (2, ())
    assert (await refused(safe.get("secret://local/erp/api-key@1"))).code == "secret.version_ended"


async def test_a_rotation_keeps_the_names_of_fields(safe):
    await safe.set("erp/db", {"user": "erp", "password": VALUE})
    problem = await refused(safe.rotate("erp/db", VALUE))
    assert (problem.kind, problem.code) == ("conflict", "secret.other_fields")
    assert (await safe.get("secret://local/erp/db#password")).version == 1


async def test_a_secret_is_set_once_and_of_two_rotations_at_once_one_is_told(safe):
    await safe.set("erp/api-key", VALUE)
    assert (await refused(safe.set("erp/api-key", VALUE))).code == "secret.exists"
    done = await asyncio.gather(*(safe.rotate("erp/api-key", f"v{n}") for n in range(4)), return_exceptions=True)
    codes = [one.code for one in done if isinstance(one, Problem)]
    assert set(codes) <= {"secret.changed_meanwhile"}
    assert len(codes) < 4
    (kept,) = (await list_secrets(safe.ctx, PageParams())).items
    assert kept.version == 5 - len(codes)


async def test_grants_count_within_the_cache(safe):
    await safe.set("erp/api-key", VALUE)
    await safe.get("secret://local/erp/api-key")
    kept = await grant_secret(safe.ctx, "erp/api-key", ["ledger", "erp"])
    assert kept.connectors == ("erp", "ledger")
    kept = await ungrant_secret(safe.ctx, "local/erp/api-key", ["erp"])
    assert kept.connectors == ("ledger",)
    safe.clock.pass_s(2)
    assert (await refused(safe.get("secret://local/erp/api-key"))).code == "secret.not_granted"
    assert (await safe.get("secret://local/erp/api-key", connector="ledger")).reveal() == VALUE
    assert (await refused(grant_secret(safe.ctx, "erp/other", ["erp"]))).code == "secret.unknown"
    wrong = await refused(grant_secret(safe.ctx, "erp/api-key", ["erp"], environment="production"))
    assert wrong.code == "secret.other_environment"
    assert (await refused(grant_secret(safe.ctx, "erp/api-key", ["No Name"]))).code == "secret.bad_connector"


async def test_removal_erases_and_a_number_is_never_given_twice(safe, fresh_database_urls):
    await safe.set("erp/api-key", VALUE)
    await safe.rotate("erp/api-key", "pl4nted-2")
    safe.references.rows = [Reference(connector="erp", place="/auth/token", text="secret://local/erp/api-key#value")]
    used = await refused(remove_secret(safe.ctx, safe.references, "erp/api-key"))
    assert (used.code, used.fields["connectors"]) == ("secret.in_use", ["erp"])
    assert "/auth/token" in used.message
    await remove_secret(safe.ctx, safe.references, "erp/api-key", force=True)
    safe.clock.pass_s(2)
    assert (await refused(safe.get("secret://local/erp/api-key"))).code == "secret.unknown"
    assert (await refused(remove_secret(safe.ctx, safe.references, "erp/api-key", force=True))).code == "secret.unknown"
    async with safe.ctx.tx() as tx:
        left = await (await tx.execute("select state, ciphertext from secret_versions order by version")).fetchall()
    assert left == [("ended", None), ("ended", None)]
    again = await safe.set("erp/api-key", "pl4nted-3", environment="production", connectors=["ledger"])
    assert (again.version, again.environment, again.connectors) == (3, "production", ("ledger",))


async def test_a_previous_version_can_be_ended_and_the_current_one_cannot(safe):
    await safe.set("erp/api-key", VALUE)
    await safe.rotate("erp/api-key", "pl4nted-2")
    assert (await refused(remove_secret(safe.ctx, safe.references, "erp/api-key@2"))).code == "secret.is_current"
    assert (await refused(remove_secret(safe.ctx, safe.references, "erp/api-key@9"))).code == "secret.unknown_version"
    left = await remove_secret(safe.ctx, safe.references, "erp/api-key@1")
    assert (left.version, left.previous, left.previous_until) == (2, (), None)
    assert (await refused(remove_secret(safe.ctx, safe.references, "erp/api-key@1"))).code == "secret.already_ended"
    assert (await safe.get("secret://local/erp/api-key")).version == 2


async def test_what_is_sealed_for_another_path_or_tenant_or_key_is_not_taken(safe):
    for value in (await safe.seal("erp/other", VALUE), await safe.seal("erp/api-key", VALUE, tenant="acme")):
        problem = await refused(set_secret(safe.ctx, safe.holder, "erp/api-key", value))
        assert problem.code == "secret.not_opened"
    right = await safe.seal("erp/api-key", VALUE)
    other = Sealed(key_id="sha256:" + "0" * 64, text=right.text)
    assert (await refused(set_secret(safe.ctx, safe.holder, "erp/api-key", other))).code == "secret.other_sealing_key"
    assert (await list_secrets(safe.ctx, PageParams())).items == []


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("vault/erp/x", "secret.read_only"),
        ("secret://env/x", "secret.read_only"),
        ("erp#field", "secret.not_whole"),
        ("erp@3", "secret.not_whole"),
        ("../x", "secret.bad_reference"),
        ("", "secret.bad_reference"),
        ("a" * 300, "secret.bad_reference"),
    ],
)
async def test_names_that_cannot_be_set(safe, name, code):
    sealed = Sealed(key_id="k", text="AQ")
    assert (await refused(set_secret(safe.ctx, safe.holder, name, sealed))).code == code


async def test_a_tenant_sees_and_gets_only_its_own(safe):
    await safe.set("erp/api-key", VALUE)
    made = await create_tenant(
        safe.stage.system(), safe.stage.authenticator.pepper, name="acme", display_name="", admin="ann"
    )
    other = Ctx(env=safe.ctx.env, actor=await safe.stage.authenticator.by_key(made.key.text))
    assert (await refused(safe.get("secret://local/erp/api-key", tenant="acme"))).code == "secret.unknown"
    assert (await list_secrets(other, PageParams())).items == []


async def test_rows_that_are_moved_or_changed_do_not_open(safe, cluster, fresh_database_urls):
    """Who can write to the database cannot turn one secret into another, nor one environment's into another's."""
    await safe.set("erp/api-key", VALUE)
    await safe.set("erp/other", "harmless")
    changes = (
        "update secrets set environment = 'production' where path = 'erp/api-key'",
        (
            "update secret_versions a set ciphertext = b.ciphertext from secret_versions b"
            " where a.path = 'erp/other' and b.path = 'erp/api-key'"
        ),
        "update secret_versions set ciphertext = set_byte(ciphertext, 20, (get_byte(ciphertext, 20) + 1) % 256)",
        "update secret_versions set ciphertext = '\\x00'",
        "update data_keys set wrapped = set_byte(wrapped, 30, (get_byte(wrapped, 30) + 1) % 256)",
    )
    asked = (
        ("secret://local/erp/api-key", "production"),
        ("secret://local/erp/other", "local"),
        ("secret://local/erp/other", "local"),
        ("secret://local/erp/other", "local"),
        ("secret://local/erp/other", "local"),
    )
    for change, (ref, environment) in zip(changes, asked, strict=True):
        with psycopg.connect(cluster.superuser(fresh_database_urls)) as connection:
            connection.execute(change)
        safe.holder.keyring._open.clear()
        safe.resolver.forget()
        problem = await refused(safe.get(ref, environment=environment))
        assert (problem.code, problem.retryable) == ("secret.damaged", False), change


async def test_check_says_of_every_reference_whether_it_resolves_and_shows_nothing(safe):
    await safe.set("erp/api-key", VALUE, connectors=["erp"])
    await safe.set("erp/prod", VALUE, environment="production")
    safe.references.rows = [
        Reference(connector="erp", place="/auth/token", text="secret://local/erp/api-key"),
        Reference(connector="erp", place="/auth/user", text="secret://local/erp/prod"),
        Reference(connector="ledger", place="/auth/token", text="secret://local/erp/api-key"),
        Reference(connector="ledger", place="/password", text="secret://local/none"),
        Reference(connector="ledger", place="/x", text="secret://user:pl4nted@host/x"),
    ]
    found = await check_secrets(safe.ctx, safe.holder, safe.references)
    assert [one.code for one in found] == [
        "",
        "secret.wrong_environment",
        "secret.not_granted",
        "secret.unknown",
        "secret.unknown_provider",
    ]
    assert (found[0].version, found[0].issued_to, found[0].granted) == (1, "local", ("erp",))
    assert (found[1].issued_to, found[3].issued_to, found[4].reference) == ("production", None, "")
    assert "pl4nted" not in repr(found)


async def test_a_check_of_one_tenant_has_no_other_tenants_secrets_read_again(safe):
    await safe.set("erp/api-key", VALUE)
    await safe.set("erp/other", VALUE)
    await safe.get("secret://local/erp/other")
    kept = dict(safe.resolver._kept)
    safe.references.rows = [Reference(connector="erp", place="/auth/token", text="secret://local/erp/api-key")]
    await check_secrets(safe.ctx, safe.holder, safe.references)
    assert kept.items() <= safe.resolver._kept.items()


async def test_audit_has_digests_and_no_value(safe, cluster, fresh_database_urls):
    await safe.set("erp/api-key", VALUE)
    await safe.rotate("erp/api-key", "pl4nted-2")
    await grant_secret(safe.ctx, "erp/api-key", ["ledger"])
    await ungrant_secret(safe.ctx, "erp/api-key", ["ledger"])
    await remove_secret(safe.ctx, safe.references, "erp/api-key@1")
    await remove_secret(safe.ctx, safe.references, "erp/api-key")
    with psycopg.connect(cluster.superuser(fresh_database_urls)) as connection:
        records = connection.execute(
            "select event_type, record from audit_records where target_kind = 'secret' order by id"
        ).fetchall()
        dump = connection.execute(
            "select (select string_agg(t::text, '') from secrets t) || (select string_agg(t::text, '') from secret_versions t)"
        ).fetchone()
    assert [event for event, _ in records] == [
        "secret.set",
        "secret.rotated",
        "secret.granted",
        "secret.ungranted",
        "secret.version_ended",
        "secret.removed",
    ]
    assert "sha256:" in records[0][1]
    assert "pl4nted" not in repr(records) + repr(dump)
    assert VALUE.encode().hex() not in repr(dump)
