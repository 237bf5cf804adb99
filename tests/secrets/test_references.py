"""What is a reference, what is not, and that what stands in its place is never repeated."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stanchion.base import Invalid
from stanchion.secrets import PROVIDERS, SecretRef, references_in

names = st.from_regex(r"[A-Za-z0-9]([A-Za-z0-9_-]{0,8}[A-Za-z0-9])?", fullmatch=True)
refs = st.builds(
    SecretRef,
    provider=st.sampled_from(PROVIDERS),
    path=st.lists(names, min_size=1, max_size=8).map("/".join),
    field=st.from_regex(r"[A-Za-z_][A-Za-z0-9_.-]{0,20}", fullmatch=True),
    version=st.none() | st.integers(1, 999_999_999),
)


@given(refs)
def test_a_reference_is_read_as_it_was_written(ref):
    assert SecretRef.parse(str(ref)) == ref


@pytest.mark.parametrize(
    ("text", "ref"),
    [
        ("secret://local/erp", SecretRef(provider="local", path="erp")),
        (
            "secret://local/erp/api-key#token@3",
            SecretRef(provider="local", path="erp/api-key", field="token", version=3),
        ),
        ("secret://vault/Erp/a.b_c@12", SecretRef(provider="vault", path="Erp/a.b_c", version=12)),
    ],
)
def test_forms(text, ref):
    assert SecretRef.parse(text) == ref


@pytest.mark.parametrize(
    "text",
    [
        "hunter2-pl4nted",
        "secret:/local/pl4nted",
        "SECRET://local/pl4nted",
        "secret://admin:pl4nted@host/x",
        "secret://pl4nted",
        "secret://local",
        "secret://local/",
        "secret://local//pl4nted",
        "secret://local/pl4nted/",
        "secret://local/../pl4nted",
        "secret://local/a..pl4nted",
        "secret://local/.pl4nted",
        "secret://local/pl4nted#",
        "secret://local/pl4nted#1x",
        "secret://local/pl4nted#a#b",
        "secret://local/pl4nted@",
        "secret://local/pl4nted@0",
        "secret://local/pl4nted@-1",
        "secret://local/pl4nted@1@2",
        "secret://local/pl4nted@9999999999",
        "secret://local/pl4nted?x=1",
        "secret://local/pl4nted%2e",
        "secret://local/pl4nted\n",
        "secret://local/pl4nted x",
        "secret://local/" + "/".join(["pl4nted"] * 9),
        "secret://local/" + "a" * 65 + "pl4nted",
        None,
        7,
        ["secret://local/pl4nted"],
    ],
)
def test_what_is_none_is_refused_with_place_and_way_out_and_not_repeated(text):
    with pytest.raises(Invalid) as caught:
        SecretRef.parse(text, place="connector erp, /auth/token")
    problem = caught.value
    assert problem.code in {"secret.bad_reference", "secret.unknown_provider"}
    assert "connector erp, /auth/token" in problem.message
    assert "secret://" in problem.hint or "Did you mean" in problem.hint
    assert "pl4nted" not in str(problem)
    assert problem.fields == {"place": "connector erp, /auth/token"}


def test_a_misspelt_provider_is_told():
    with pytest.raises(Invalid) as caught:
        SecretRef.parse("secret://valut/x")
    assert (caught.value.code, caught.value.hint) == ("secret.unknown_provider", "Did you mean 'vault'?")


@pytest.mark.parametrize(
    ("said", "name", "version"),
    [
        ("erp/api-key", "local/erp/api-key", None),
        ("local/erp", "local/erp", None),
        ("vault/erp", "vault/erp", None),
        ("vault", "local/vault", None),
        ("secret://env/erp", "env/erp", None),
        ("erp@2", "local/erp", 2),
    ],
)
def test_what_people_write_for_a_secret(said, name, version):
    ref = SecretRef.named(said)
    assert (ref.name, ref.version) == (name, version)


def test_references_are_found_wherever_they_stand():
    document = {
        "auth": {"token": "secret://local/a", "sent/to~": ["x", "secret://vault/b#c@1", 3, None, True]},
        "note": "not secret://local/a",
    }
    assert list(references_in(document)) == [
        ("/auth/token", "secret://local/a"),
        ("/auth/sent~1to~0/1", "secret://vault/b#c@1"),
    ]
