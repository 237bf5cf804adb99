"""The nouns of credentials: where a connector wants one, and what it is for one call."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from stanchion.base import Internal
from stanchion.secrets import Secret, TokenKeeping


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptGrants:
    """Where a tenant's refresh tokens are kept that servers exchange."""

    tenant: str
    keeping: TokenKeeping


class Credentials:
    """The secrets of one connector, for one call: values by site, the JSON pointer into the connector's document.

    Neither `repr` nor `str`, a log line or a pickle of it shows a value; answers are scrubbed of `plain_values` and
    `passing_values`. `kept`: where exchanged refresh tokens are kept, in the broker.
    """

    __slots__ = ("_derived", "_passing", "_told", "_values", "kept")

    def __init__(self, values: Mapping[str, Secret] | None = None, *, kept: KeptGrants | None = None) -> None:
        self._values: Mapping[str, Secret] = dict(values or {})
        self.kept = kept
        self._derived: set[str] = set()
        self._passing: set[str] = set()
        self._told: Callable[[Credentials], object] | None = None

    def value(self, site: str) -> str:
        """The value for the site `/auth/bearer/token`. Raises Internal if nothing was resolved for it."""
        found = self._values.get(site)
        if found is None:
            raise Internal("connector.credential_missing", f"No credential was resolved for {site}.")
        return found.reveal()

    def has(self, site: str) -> bool:
        """Whether there is a value for the site."""
        return site in self._values

    def sites(self) -> Iterable[str]:
        """The sites that have a value."""
        return self._values.keys()

    def derived(self, value: str) -> str:
        """Note a text that was made of the values (an access token, a Basic header): it is as secret as they are."""
        if value:
            self._derived.add(value)
            self._tell()
        return value

    def passing(self, value: str) -> str:
        """Note a text that was made of the values for one request alone (a signature): as secret, and over with the request."""
        if value:
            self._passing.add(value)
            self._tell()
        return value

    def _tell(self) -> None:
        if self._told is not None:
            self._told(self)

    def watched(self, told: Callable[[Credentials], object]) -> None:
        """Have `told` called with these credentials at once, and again whenever something is made of them: what they are
        scrubbed of must be known before it leaves, not when the call has ended."""
        self._told = told
        told(self)

    def passing_values(self) -> frozenset[str]:
        """What was noted as made for one request alone."""
        return frozenset(self._passing)

    def plain_values(self) -> frozenset[str]:
        """Every value and everything lasting that was derived from them, for scrubbing. Empty texts are left out."""
        return frozenset({*(s.reveal() for s in self._values.values()), *self._derived} - {""})

    def plain_values_of(self, prefix: str) -> frozenset[str]:
        """The values of the sites under `/auth/oauth2`."""
        return frozenset(s.reveal() for site, s in self._values.items() if site.startswith(prefix + "/"))

    def __repr__(self) -> str:
        return f"Credentials({', '.join(self._values) or 'none'})"

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("credentials are not copied out of their process")


NO_CREDENTIALS = Credentials()
