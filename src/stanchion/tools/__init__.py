"""Tools: connectors, the adapters that speak to external systems, and the effect port through which they are changed.

A connector is an artifact: what a system offers (resources, typed fields, declared operations) and which environment it
is bound to, never a credential. FETCH and LOOKUP read through it. PUSH writes through the effect ledger: intent before
the call, receipt after, one key that the target receives, so that a write happens at most once or is known to be
unknown (I5, I8, I10).

What knows every adapter (`adapters.registry.Adapters`, `connectors.kind.ConnectorKind`) is imported by its module.
"""

from stanchion.tools.adapter import Adapter, AdapterProblem, AdapterRegistry, Target
from stanchion.tools.adapters import NO_OWN as NO_OWN_ADAPTERS
from stanchion.tools.adapters import PAGE_PURPOSE, Means, NamedAdapters, Pages, PlainAdapter
from stanchion.tools.adapters import find_own as find_own_adapters
from stanchion.tools.connectors import connector_of
from stanchion.tools.effects import (
    ApprovalCheck,
    Effect,
    EffectFilter,
    EffectGauges,
    EffectPort,
    EffectState,
    Versioned,
    count_unknown,
    effect_key,
    list_effects,
    resolve,
    settle_left,
    show,
)
from stanchion.tools.egress import Network
from stanchion.tools.handlers import ExecuteHandler, FetchHandler, LookupHandler, PushHandler
from stanchion.tools.references import LiveReferences
from stanchion.tools.sandbox import Sandbox
from stanchion.tools.service import Tested, list_connectors, show_connector, test_connector
from stanchion.tools.types import Connector, Envelope, Operation, Resource
from stanchion.tools.verbs import EXECUTE, FETCH, LOOKUP, PUSH, VERBS

__all__ = [
    "EXECUTE",
    "FETCH",
    "LOOKUP",
    "NO_OWN_ADAPTERS",
    "PAGE_PURPOSE",
    "PUSH",
    "VERBS",
    "Adapter",
    "AdapterProblem",
    "AdapterRegistry",
    "ApprovalCheck",
    "Connector",
    "Effect",
    "EffectFilter",
    "EffectGauges",
    "EffectPort",
    "EffectState",
    "Envelope",
    "ExecuteHandler",
    "FetchHandler",
    "LiveReferences",
    "LookupHandler",
    "Means",
    "NamedAdapters",
    "Network",
    "Operation",
    "Pages",
    "PlainAdapter",
    "PushHandler",
    "Resource",
    "Sandbox",
    "Target",
    "Tested",
    "Versioned",
    "connector_of",
    "count_unknown",
    "effect_key",
    "find_own_adapters",
    "list_connectors",
    "list_effects",
    "resolve",
    "settle_left",
    "show",
    "show_connector",
    "test_connector",
]
