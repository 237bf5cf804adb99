"""References to secrets: what they look like, and where they stand in a document."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, cast

from stanchion.base import Invalid, nearest

# Where values are: our own tables, variables and files of a container, a Vault or OpenBao.
PROVIDERS: Final = ("local", "env", "file", "vault")
# The field that a reference without `#field` means.
DEFAULT_FIELD: Final = "value"
SCHEME: Final = "secret://"

PATH_CHARS_MAX: Final = 200
_SEGMENTS_MAX: Final = 8
_SEGMENT: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,62}[A-Za-z0-9])?")
_FIELD: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,62}")
_VERSION: Final = re.compile(r"[1-9][0-9]{0,8}")
_FORM: Final = (
    "Write secret://provider/path, with #field and @version where they are needed: secret://local/erp/api-key."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretRef:
    """`secret://provider/path#field@version`: where a value is, never the value. Made by `SecretRef.parse`.

    Attributes:
        provider: one of `PROVIDERS`.
        path: one to eight names joined by `/`.
        field: which value of the secret; `value` unless said.
        version: which version, from 1; None for whichever is current.
    """

    provider: str
    path: str
    field: str = DEFAULT_FIELD
    version: int | None = None

    @classmethod
    def parse(cls, text: object, *, place: str = "the reference") -> SecretRef:
        """The reference that `text` is. `place` is said in errors (`connector casebook, /auth/token`).

        The text itself is never repeated: what stands where a reference should is often the secret.

        Raises Invalid `secret.bad_reference`, `secret.unknown_provider`.
        """
        return _parse(text, place)

    @classmethod
    def named(cls, text: str) -> SecretRef:
        """The secret that a person means: `erp/api-key` (provider local), `vault/erp/api-key`, or a whole reference; a version
        may be named, a field not.

        Raises Invalid `secret.bad_reference`, `secret.unknown_provider`, `secret.not_whole`.
        """
        if not text.startswith(SCHEME):
            known = "/" in text and text.partition("/")[0] in PROVIDERS
            text = f"{SCHEME}{text if known else f'local/{text}'}"
        ref = _parse(text, "the name of the secret")
        if "#" in text:
            raise Invalid(
                "secret.not_whole",
                f"{ref} names one field.",
                hint=f"Name the secret: {ref.name}. Fields are set together.",
            )
        return ref

    @property
    def name(self) -> str:
        """`provider/path`: the secret, whichever field and version."""
        return f"{self.provider}/{self.path}"

    def __str__(self) -> str:
        field = "" if self.field == DEFAULT_FIELD else f"#{self.field}"
        version = "" if self.version is None else f"@{self.version}"
        return f"{SCHEME}{self.provider}/{self.path}{field}{version}"


def _parse(text: object, place: str) -> SecretRef:
    if not isinstance(text, str):
        raise _bad(place, "is not a text")
    if not text.startswith(SCHEME):
        raise _bad(place, f"does not begin with {SCHEME}")
    named, at, version = text.removeprefix(SCHEME).partition("@")
    named, hash_sign, field = named.partition("#")
    provider, _, path = named.partition("/")
    if provider not in PROVIDERS:
        raise _unknown_provider(provider, place)
    if reason := bad_path(path):
        raise _bad(place, reason)
    if hash_sign and not _FIELD.fullmatch(field):
        raise _bad(place, "has a field, after #, that is no name: 1 to 63 letters, digits and . _ -")
    if at and not _VERSION.fullmatch(version):
        raise _bad(place, "has a version, after @, that is no whole number from 1")
    return SecretRef(
        provider=provider,
        path=path,
        field=field if hash_sign else DEFAULT_FIELD,
        version=int(version) if at else None,
    )


def bad_path(path: str) -> str | None:
    """Why `path` is no path of a secret, or None if it is one. Its text is not repeated."""
    if not path:
        return "names no path after its provider"
    segments = path.split("/")
    if len(path) > PATH_CHARS_MAX or len(segments) > _SEGMENTS_MAX:
        return f"has a path of more than {_SEGMENTS_MAX} names or {PATH_CHARS_MAX} characters"
    for number, segment in enumerate(segments, 1):
        if not _SEGMENT.fullmatch(segment) or ".." in segment:
            return (
                f"has a path whose part {number} is no name: letters and digits, with . _ - between them, at most 64 characters,"
                " no two dots together"
            )
    return None


def is_reference(value: object) -> bool:
    """Whether a value of a document is meant to be a reference."""
    return isinstance(value, str) and value.startswith(SCHEME)


def references_in(document: object, place: str = "") -> Iterator[tuple[str, str]]:
    """Every text of a JSON document that is meant to be a reference, with its JSON pointer (RFC 6901)."""
    if isinstance(document, str):
        if is_reference(document):
            yield place, document
    elif isinstance(document, Mapping):
        for name, value in cast("Mapping[str, object]", document).items():
            yield from references_in(value, f"{place}/{name.replace('~', '~0').replace('/', '~1')}")
    elif isinstance(document, Sequence):
        for index, value in enumerate(cast("Sequence[object]", document)):
            yield from references_in(value, f"{place}/{index}")


def _bad(place: str, reason: str) -> Invalid:
    return Invalid("secret.bad_reference", f"What stands at {place} {reason}.", hint=_FORM, place=place)


def _unknown_provider(provider: str, place: str) -> Invalid:
    # A provider's name is repeated only if it can be one: a URL with a password would stand there otherwise.
    plain = re.fullmatch(r"[a-z][a-z-]{0,15}", provider) is not None
    near = nearest(provider, PROVIDERS) if plain else None
    return Invalid(
        "secret.unknown_provider",
        f"What stands at {place} names "
        + (f"the provider {provider!r}, which there is not." if plain else "no provider."),
        hint=f"Did you mean {near!r}?" if near else f"Providers are {', '.join(PROVIDERS)}. {_FORM}",
        place=place,
    )
