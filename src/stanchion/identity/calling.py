"""The port by which calls of connectors and tools are authorized: what is asked, what was decided, whose policies decide.

A tenant's authorization policies are Cedar text, released like every artifact and never pinned: what is live decides the
next call. They are judged together with the shipped ones (`calling.cedar`); `forbid` wins. A policy that cannot be read
denies every call of its tenant, for nobody knows what it forbids (I11).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

from stanchion.base import Json
from stanchion.context import Actor, Environment

Effect = Literal["read", "write", "destructive"]
CallAction = Literal["tools.call", "effects.perform"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CallQuestion:
    """One call of a connector's operation, as policy judges it.

    Attributes:
        tenant: whose connector it is. actor: who started the run, with the roles held now (`PrincipalsNow` finds them by name).
        effect: the class of the operation, or of the tool if that is stricter. `read` is the action `tools.call`, the others
            `effects.perform`.
        connector, resource, operation: names; for an `execute` both are the operation's. `verb`: fetch, lookup, push, execute.
        connector_environment, connector_digest: of the version that is called.
        environment: this deployment.
        arguments: `where` of a fetch, `{key}` of a lookup, the record of a push, the arguments of an execute: as they are
            sent. `arguments_digest`: of these.
        tool, tool_digest: the tool it is called through, empty for none.
    """

    tenant: str
    actor: Actor
    effect: Effect
    verb: str
    connector: str
    resource: str
    operation: str
    connector_environment: str
    connector_digest: str
    environment: Environment
    arguments: Mapping[str, Json]
    arguments_digest: str = ""
    tool: str = ""
    tool_digest: str = ""

    @property
    def action(self) -> CallAction:
        """The action of this effect class."""
        return "tools.call" if self.effect == "read" else "effects.perform"

    @property
    def target(self) -> str:
        """What is called, as messages say it: `tool post-cost` or `erp.postings.push`."""
        called = f"{self.connector}.{self.resource}.{self.verb}"
        return f"tool {self.tool} ({called})" if self.tool else called


@dataclass(frozen=True, slots=True, kw_only=True)
class CallVerdict:
    """What was decided. `because`: ids of the statements that decided, each `<policy>/<@id>`; empty: nothing permits it.

    `refusals`: why nothing could be decided, so that it is denied. `policies`: digest over the policies that were judged.
    """

    permitted: bool
    because: tuple[str, ...] = ()
    refusals: tuple[str, ...] = ()
    policies: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorizationPolicy:
    """The Cedar text of one live policy. `unreadable`: why its text cannot be had, where it cannot."""

    name: str
    version: int
    digest: str
    cedar: str = field(repr=False)
    unreadable: str = ""


class PolicySource(Protocol):
    """The live authorization policies, from memory. Filled above (`releases`)."""

    def policies(self, tenant: str, *, strict: bool) -> tuple[AuthorizationPolicy, ...]:
        """Those of the tenant. Raises Unavailable `policy.unread` before the first read, and with `strict` (for what
        changes the outside world) when they could not be read for too long."""
        ...


class CallAuthorizer(Protocol):
    """Decides calls. Filled by `CedarCalls`."""

    def authorize_call(self, question: CallQuestion) -> CallVerdict:
        """The verdict, which permits. Raises Denied `auth.denied` with what decided and the way out, Unavailable
        `policy.unread`."""
        ...

    def judge_call(self, question: CallQuestion) -> CallVerdict:
        """The same without raising Denied, for cases that are tried. Raises Unavailable `policy.unread`."""
        ...


class Principals(Protocol):
    """Who somebody is now, by name. Filled by `PrincipalsNow`."""

    async def actor(self, tenant: str, principal: str) -> Actor:
        """The Actor of that name with the roles held now; `system:…` is Stanchion's own. Raises Denied `auth.denied` for
        one that does not exist or is disabled."""
        ...
