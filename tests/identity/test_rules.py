"""The form of credentials, and what a new key may be."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stanchion.base import Denied, Invalid, SystemClock, SystemIds, Unauthenticated
from stanchion.context import Actor
from stanchion.identity import Pepper, rules
from stanchion.identity.types import ApiKey, NewKey

ID = UUID("0199c1f0-5c7e-7d31-9a54-6f1f0a4f5d11")
NOW = datetime(2026, 11, 18, 9, 0, tzinfo=UTC)
IDS = SystemIds(SystemClock())


@given(st.binary(min_size=32, max_size=32))
def test_a_key_reads_back(secret):
    text = rules.key_text("local", ID, rules.secret_text(secret))
    presented = rules.read_key(text, "local")
    assert presented.id == ID
    assert len(presented.secret) == 43
    assert presented.secret.isalnum()
    assert text.startswith(f"stn_local_{ID.hex}_")


@given(st.binary(min_size=32, max_size=32), st.binary(min_size=32, max_size=32))
def test_different_secrets_have_different_texts(one, other):
    assert (rules.secret_text(one) == rules.secret_text(other)) == (one == other)


KEY = rules.key_text("local", ID, rules.secret_text(bytes(range(32))))


@given(st.integers(min_value=0, max_value=len(KEY) - 1), st.sampled_from("0aZ_-x"))
def test_one_wrong_character_is_told_without_a_look_up(position, character):
    wrong = KEY[:position] + character + KEY[position + 1 :]
    if wrong == KEY:
        return
    with pytest.raises(Unauthenticated) as refused:
        rules.read_key(wrong, "local")
    assert refused.value.code in {"auth.malformed_key", "auth.bad_checksum"}


@given(st.text(max_size=200))
def test_junk_is_malformed(text):
    with pytest.raises(Unauthenticated):
        rules.read_key(text, "local")
    with pytest.raises(Unauthenticated):
        rules.read_token(text)


def test_a_key_of_another_environment_says_so():
    with pytest.raises(Unauthenticated) as refused:
        rules.read_key(KEY, "production")
    assert refused.value.code == "auth.wrong_environment"
    assert "'local'" in refused.value.message


def test_a_mac_is_bound_to_pepper_kind_and_row():
    other = UUID(int=7)
    macs = {
        rules.mac_of(b"p" * 32, "api_key", ID, "s"),
        rules.mac_of(b"q" * 32, "api_key", ID, "s"),
        rules.mac_of(b"p" * 32, "session", ID, "s"),
        rules.mac_of(b"p" * 32, "api_key", other, "s"),
        rules.mac_of(b"p" * 32, "api_key", ID, "t"),
    }
    assert len(macs) == 5


@pytest.mark.parametrize("name", ["", "-x", ".x", "a b", "ä", "a" * 128, "a\x00", "a/b", "a\n"])
def test_bad_principal_names(name):
    with pytest.raises(Invalid):
        rules.check_principal_name(name)


@pytest.mark.parametrize("name", ["", "A", "1a", "a_b", "a" * 64, "a\n"])
def test_bad_tenant_names(name):
    with pytest.raises(Invalid):
        rules.check_tenant_name(name)


def test_roles_and_scopes_are_known_names():
    assert rules.check_roles(["viewer", "admin", "viewer"]) == ("admin", "viewer")
    with pytest.raises(Invalid) as refused:
        rules.check_roles(["aprover"])
    assert refused.value.hint == "Did you mean 'approver'?"
    with pytest.raises(Invalid):
        rules.check_roles(["system"])


def scoped(*scopes):
    return Actor(
        tenant="t",
        principal="p",
        principal_id="",
        kind="user",
        roles=frozenset(),
        scopes=frozenset(scopes),
        credential="",
    )


def test_a_scoped_key_begets_no_wider_one():
    assert rules.check_scopes([], scoped()) == ()
    assert rules.check_scopes(["runs.read"], scoped()) == ("runs.read",)
    assert rules.check_scopes(["runs.read"], scoped("runs.read", "keys.create")) == ("runs.read",)
    for wider in ([], ["runs.start"], ["runs.read", "runs.start"]):
        with pytest.raises(Denied):
            rules.check_scopes(wider, scoped("runs.read", "keys.create"))


def test_an_expiry_is_in_the_future_and_has_a_zone():
    assert rules.check_expiry(None, NOW) is None
    assert rules.check_expiry(NOW + timedelta(seconds=1), NOW)
    for bad in (NOW, NOW - timedelta(days=1), NOW + timedelta(days=4000), datetime(2027, 1, 1)):  # noqa: DTZ001
        with pytest.raises(Invalid):
            rules.check_expiry(bad, NOW)


class TestPepper:
    def test_it_is_made_once_and_private(self, tmp_path):
        path = tmp_path / "pepper"
        made = Pepper.from_file(path, IDS)
        assert path.stat().st_mode & 0o777 == 0o600
        assert Pepper.from_file(path, IDS).bytes() == made.bytes()
        assert len(made.bytes()) == 32
        assert [p.name for p in tmp_path.iterdir()] == ["pepper"]

    def test_a_file_others_may_read_is_refused(self, tmp_path):
        path = tmp_path / "pepper"
        Pepper.from_file(path, IDS)
        path.chmod(0o640)
        with pytest.raises(Invalid) as refused:
            Pepper.from_file(path, IDS)
        assert refused.value.hint == f"chmod 600 {path}"

    @pytest.mark.parametrize("text", ["", "zz", "00" * 31])
    def test_a_bad_one_is_refused_without_repeating_it(self, text):
        with pytest.raises(Invalid) as refused:
            Pepper.from_hex(text)
        assert refused.value.__cause__ is None

    def test_nothing_secret_is_printed(self):
        pepper = Pepper(b"\xab" * 32)
        assert "ab" not in repr(pepper)
        key = ApiKey(
            tenant="t",
            id=ID,
            principal_id=ID,
            principal="p",
            label="",
            scopes=(),
            created_at=NOW,
            created_by="x",
            expires_at=None,
            revoked_at=None,
        )
        assert KEY not in repr(NewKey(key=key, text=KEY))
        assert rules.read_key(KEY, "local").secret not in repr(rules.read_key(KEY, "local"))
