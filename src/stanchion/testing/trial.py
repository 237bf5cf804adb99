"""One external system, prepared for the suite, and the means by which the suite calls it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from typing import cast

from stanchion.base import Json, dumps, loads
from stanchion.blueprints import Document
from stanchion.secrets import Secret, SecretRef
from stanchion.tools.adapter import Adapter, Target
from stanchion.tools.adapters.registry import Adapters
from stanchion.tools.connectors import connector_of
from stanchion.tools.connectors.kind import ConnectorKind
from stanchion.tools.credentials import Credentials
from stanchion.tools.types import Connector, Record

_REF = SecretRef.parse("secret://local/trial#value")
_TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What the suite is told of a system.

    Attributes:
        adapter: under test. The suite closes it.
        document: the connector's document, as it would be published; `adapter:` names the adapter.
        credentials: site of a `secret://` reference in the document, as a JSON pointer (`/auth/token`) -> its value.
        reads: a resource that is read, or nothing. `records`: all it holds, in the order in which a fetch gives them, as the
            resource declares them; three or more show paging. `where`: parameters that filter nothing.
        writes: a resource that is written to, or nothing. `record`: what is pushed.
        received: how many writes the target has applied, or holds, since the trial began.
        faults: name -> a context in which the target is so: `unreachable`, `hangs`, `nonsense`, … Every call in it fails.
    """

    adapter: Adapter
    document: Mapping[str, Json]
    credentials: Mapping[str, str] = field(default_factory=dict[str, str])
    reads: str = ""
    records: Sequence[Record] = ()
    where: Record = field(default_factory=dict[str, Json])
    writes: str = ""
    record: Record = field(default_factory=dict[str, Json])
    received: Callable[[], Awaitable[int]] | None = None
    faults: Mapping[str, Callable[[], AbstractAsyncContextManager[object]]] = field(
        default_factory=dict[str, Callable[[], AbstractAsyncContextManager[object]]]
    )

    def connector(self) -> Connector:
        """The connector of the document."""
        return connector_of(self.document, "sha256:trial")

    def told(self) -> Credentials:
        """The credentials as the broker hands them on."""
        return Credentials({site: Secret(value, ref=_REF) for site, value in self.credentials.items()})

    def target(self, resource: str, verb: str, timeout_s: float = 5.0) -> Target:
        """A target of the document."""
        connector = self.connector()
        found = connector.resources[resource]
        return Target(
            connector=connector,
            resource=found,
            operation=found.operations[verb],
            timeout_s=timeout_s,
            traceparent=_TRACE,
            credentials=self.told(),
        )

    def offers(self, resource: str, verb: str) -> bool:
        """Whether the resource has the operation."""
        return bool(resource) and verb in self.connector().resources[resource].operations

    def with_fields(self, **fields: Mapping[str, Json]) -> Trial:
        """The same with other fields of the resource that is read."""
        changed = cast("dict[str, dict[str, dict[str, dict[str, Json]]]]", loads(dumps(dict(self.document))))
        for name, schema in fields.items():
            changed["resources"][self.reads]["fields"][name] = dict(schema)
        return replace(self, document=cast("Mapping[str, Json]", changed))

    def complaints(self, document: Mapping[str, Json]) -> list[str]:
        """What publishing the document would say."""
        kind = ConnectorKind(cast("Adapters", _One(self.adapter)))
        text = dumps(dict(document)).decode()
        parsed = kind.parse(Document(path="connector.json", source=text), _nothing)
        return [f"{issue.code}: {issue.message} {issue.hint}".strip() for issue in parsed.issues]

    def shows_secret(self, text: str) -> bool:
        """Whether a credential stands in the text."""
        return any(value in text for value in self.credentials.values())


def _nothing(kind: str, name: str) -> None:
    """No other artifact is known."""
    del kind, name


class _One:
    """A registry of the one adapter under test."""

    def __init__(self, adapter: Adapter) -> None:
        self.by_name = {adapter.name: adapter}
        self.broken: Mapping[str, str] = {}
