"""Files that are not what they claim: refused with the reason, and nothing is written."""

from __future__ import annotations

import base64
import copy
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stanchion.base import Conflict, Denied, Invalid, Problem, SystemClock, SystemIds, canonical, digest
from stanchion.releases.bundles import SigningKey, codec, envelope
from stanchion.releases.bundles.types import DEPTH_MAX, FILE_BYTES_MAX
from tests.releases.bundles.support import KINDS, Deployment, blueprint, deployed, policy, said, sealed


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("keys")


@pytest.fixture
async def staging(cluster, folder):
    async with deployed(cluster.clone(), folder / "staging", "staging") as made:
        await made.apply(policy(), blueprint())
        yield made


@pytest.fixture
async def production(cluster, folder, staging):
    async with deployed(cluster.clone(), folder / "production", "production") as made:
        await made.trust(staging)
        yield made


async def refused(production: Deployment, data: bytes, code: str, kind: type[Problem] = Invalid) -> Problem:
    before = await production.everything()
    with pytest.raises(kind) as caught:
        await production.take_in(data)
    assert caught.value.code == code
    assert caught.value.hint
    assert await production.everything() == before
    return caught.value


async def test_no_byte_of_a_bundle_can_be_changed_cut_or_added(staging, production) -> None:
    data = (await staging.export("policy/supervisor-approval")).data
    _believe(data, staging.key)
    # Every byte of what is not payload, and some of the payload, each with its lowest bit flipped and as another letter.
    payload_at = (len('{"payload":"'), data.index(b'","payloadType"'))
    places = [n for n in range(len(data)) if not payload_at[0] <= n < payload_at[1] or n % 97 == 0]
    for place in places:
        for byte in (data[place] ^ 1, ord("A") if data[place] != ord("A") else ord("B")):
            changed = data[:place] + bytes([byte]) + data[place + 1 :]
            with pytest.raises((Invalid, Denied)):
                _believe(changed, staging.key)
    for changed in (b"", data[:-1], data + b"\n", b" " + data, data[: len(data) // 2], data[1:]):
        assert (await refused(production, changed, "bundle.malformed")).message


@settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(place=st.integers(0, 10**9), flip=st.integers(1, 255))
def test_any_changed_byte_is_seen(place: int, flip: int) -> None:
    data, key = _BUNDLE
    place %= len(data)
    changed = data[:place] + bytes([data[place] ^ flip]) + data[place + 1 :]
    with pytest.raises((Invalid, Denied)):
        _believe(changed, key)


def _believe(data: bytes, key: SigningKey) -> None:
    opened = envelope.open_file(data)
    if opened.fingerprint != key.public.fingerprint:
        raise Denied("bundle.untrusted_key", "nobody trusts it")
    envelope.check_signature(opened, key.public)


_KEY = SigningKey(bytes(range(32)))
_BUNDLE = (envelope.seal(canonical({"format": 1, "artifacts": ["é", 1.5, None]}), _KEY), _KEY)


@settings(max_examples=200, deadline=None)
@given(data=st.binary(max_size=300))
def test_whatever_bytes_come_the_answer_is_a_problem(data: bytes) -> None:
    for wrong in (data, b'{"payload":"' + data, b'{"payload":"' + base64.b64encode(data) + b'","payloadType":"x"}\n'):
        with pytest.raises(Invalid):
            envelope.open_file(wrong)


async def test_another_format_is_told_from_damage(staging, production) -> None:
    data = (await staging.export("policy/supervisor-approval")).data
    later = data.replace(b"release-bundle.v1+json", b"release-bundle.v2+json")
    problem = await refused(production, later, "bundle.unknown_format")
    assert "v2+json" in problem.message
    assert "upgrade" in problem.hint
    strange = data.replace(b"application/vnd.stanchion.release-bundle.v1+json", b"application/vnd.in-toto+json")
    assert "no bundle" in (await refused(production, strange, "bundle.unknown_format")).hint


async def test_another_key_may_say_what_it_likes(staging, production, tmp_path) -> None:
    other = SigningKey.from_file(tmp_path / "key", staging.env.ids)
    data = (await staging.export("policy/supervisor-approval")).data
    forged = sealed(said(data), other)
    await refused(production, forged, "bundle.untrusted_key", Denied)
    # The other's signature under the trusted key's name, and the trusted signature over other words.
    named = forged.replace(other.public.fingerprint.encode(), staging.key.public.fingerprint.encode())
    await refused(production, named, "bundle.bad_signature", Denied)
    swapped = json.loads(data)
    swapped["payload"] = base64.b64encode(canonical(said(data) | {"selected": []})).decode()
    await refused(production, canonical(swapped) + b"\n", "bundle.bad_signature", Denied)


async def test_a_trusted_deployment_may_be_wrong(staging, production) -> None:
    """Signed by the trusted key, so that only what is computed again can refuse it."""
    good = said((await staging.export("blueprint/case-triage")).data)

    async def wrong(code: str, kind: type[Problem] = Invalid, **changes) -> Problem:
        made = copy.deepcopy(good)
        for path, value in changes.items():
            where = made
            *parts, last = path.split("__")
            for part in parts:
                where = where[int(part) if part.isdigit() else part]
            where[last] = value
        return await refused(production, sealed(made, staging.key), code, kind)

    for field, value in {
        "artifacts__0__source_path": "../../etc/passwd",
        "artifacts__1__source_path": "/etc/passwd",
        "artifacts__0__name": "../x",
        "artifacts__0__version": 0,
        "artifacts__0__version ": 1,
        "artifacts__1__risk": "none",
        "artifacts__0__source": "a\x00b",
        "artifacts__0__created_at": "2026-13-40T00:00:00Z",
        "artifacts__1__live": 1,
        "origin__environment": "Production",
        "format": 2,
        "selected": [],
        "artifacts": [],
        "more": True,
    }.items():
        problem = await wrong("bundle.bad_payload", **{field: value})
        assert problem.message
    assert "/selected" in (await wrong("bundle.bad_payload", selected=[["policy", "other"]])).message
    body = good["artifacts"][1]["body"]
    assert (
        "policy supervisor-approval"
        in (await wrong("bundle.digest_mismatch", artifacts__1__body={**body, "when": "true"})).message
    )
    await wrong("bundle.digest_mismatch", content="sha256:" + "0" * 64)
    await wrong("bundle.open_reference", artifacts=good["artifacts"][:1], selected=[["blueprint", "case-triage"]])
    await wrong("bundle.duplicate", artifacts=[good["artifacts"][0], good["artifacts"][1], good["artifacts"][1]])
    await wrong("bundle.bad_payload", artifacts=list(reversed(good["artifacts"])))
    record = {"gate": "eval", "verdict": "PASS"}
    await wrong("bundle.evidence_mismatch", artifacts__1__evidence=[{"digest": digest({}), "record": record}])
    # The body that was signed is not what the text says: which of them would run?
    when = {**body, "when": "facts.fine_eur > 1.0"}
    changed = {"artifacts__1__body": when, "artifacts__1__digest": digest(when)}
    members = copy.deepcopy(good["artifacts"])
    members[1] |= {"body": when, "digest": digest(when)}
    content = digest([[m["kind"], m["name"], m["digest"]] for m in members])
    problem = await wrong("bundle.reparsed", Conflict, content=content, **changed)
    assert digest(when) in problem.message


async def test_a_reference_that_was_left_out_of_refs_is_found_by_reading_the_text(staging, production) -> None:
    made = said((await staging.export("blueprint/case-triage")).data)
    made["artifacts"][0]["refs"] = []
    await refused(production, sealed(made, staging.key), "bundle.reparsed", Conflict)


async def test_json_that_parsers_read_differently_is_refused(staging, production) -> None:
    payload = canonical(said((await staging.export("policy/supervisor-approval")).data))
    twice = payload.replace(b'"format":1', b'"format":1,"format":1')
    assert "twice" in (await refused(production, sealed(twice, staging.key), "bundle.bad_payload")).message
    for other in (payload + b" ", payload.replace(b'"format":1', b'"format":1.0'), b"[]", b"null"):
        await refused(production, sealed(other, staging.key), "bundle.bad_payload")
    await refused(production, sealed(b"\xff\xfe{", staging.key), "bundle.bad_payload")


async def test_bounds_hold_before_what_they_bound_is_read(staging, production) -> None:
    with pytest.raises(Invalid) as caught:
        envelope.open_file(bytes(FILE_BYTES_MAX + 1))
    assert caught.value.code == "bundle.too_large"
    for deep in (b"[" * 500_000, b'{"a":' * (DEPTH_MAX + 1) + b"1" + b"}" * (DEPTH_MAX + 1)):
        await refused(production, sealed(deep, staging.key), "bundle.too_deep")
    # Brackets in texts are no nesting.
    with pytest.raises(Invalid, match="cannot be read"):
        codec.decode(canonical({"a": "[" * 1000 + '\\"{{{'}))
    many = said((await staging.export("policy/supervisor-approval")).data)
    many["artifacts"] = [{**many["artifacts"][0], "name": f"p-{n:04d}"} for n in range(501)]
    await refused(production, sealed(many, staging.key), "bundle.bad_payload")


async def test_what_this_deployment_would_not_publish_does_not_come_in_either(staging, production) -> None:
    data = (await staging.export("blueprint/case-triage")).data
    # A kind that is not here; a stricter reader; a credential in the text.
    before = await production.everything()
    with pytest.raises(Invalid) as caught:
        await production.take_in(data, kinds={"policy": KINDS["policy"]})
    assert caught.value.code == "bundle.invalid_here"
    errors = caught.value.fields["errors"]
    assert "not a kind" in str(errors)
    assert await production.everything() == before
    secret = said(data)
    secret["artifacts"][1]["source"] += "# aws: AKIA" + "QYLPMN5HFIQR7XYA\n"
    problem = await refused(production, sealed(secret, staging.key), "bundle.invalid_here")
    assert "credential" in str(problem.fields["errors"]) or "AWS" in str(problem.fields["errors"])


async def test_one_bad_artifact_keeps_the_good_ones_out(staging, production) -> None:
    made = said((await staging.export("blueprint/case-triage")).data)
    made["artifacts"][0]["source"] = "blueprint: case-triage\nsteps: 7\n"
    await refused(production, sealed(made, staging.key), "bundle.invalid_here")


def test_the_key_file_is_private_and_made_once(tmp_path, folder) -> None:
    ids = SystemIds(SystemClock())
    path = tmp_path / "signing-key"
    first = SigningKey.from_file(path, ids)
    assert (path.stat().st_mode & 0o777, list(tmp_path.iterdir())) == (0o600, [path])
    assert SigningKey.from_file(path, ids).public == first.public
    assert path.read_text().strip() not in repr(first)
    path.chmod(0o644)
    with pytest.raises(Denied) as caught:
        SigningKey.from_file(path, ids)
    assert caught.value.code == "secret.too_open"
    path.chmod(0o600)
    path.write_text("MC4CAQAwBQYDK2Vu" + "A" * 48 + "\n")  # X25519, which signs nothing
    with pytest.raises(Invalid) as wrong:
        SigningKey.from_file(path, ids)
    assert wrong.value.code == "bundle.bad_signing_key"
    assert "MC4CA" not in str(wrong.value)
    with pytest.raises(Problem) as nowhere:
        SigningKey.from_file(tmp_path / "no" / "signing-key", ids)
    assert nowhere.value.code == "bundle.no_signing_key"
