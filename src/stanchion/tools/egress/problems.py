"""How a refusal is said. Nothing was sent, and asking again changes nothing."""

from __future__ import annotations

from stanchion.tools.egress.addresses import NEVER, AddressClass
from stanchion.tools.problems import AdapterProblem


class EgressProblem(AdapterProblem):
    """A connector may not connect there; it was refused before a connection was made, so `sent` is always False. A resolved
    address is said by its class alone: what a name resolves to inside a network is not for whoever reads an error."""

    retryable_by_default = False


def bad_host(name: str, reason: str) -> EgressProblem:
    """`reason` follows "the host …" or "the URL …", which is not quoted: it may hold a credential or an address."""
    return EgressProblem(
        "egress.bad_host",
        f"The connector {name!r} was led to a host or URL that {reason}.",
        hint="Hosts are written one way: a name in lower case, a dotted IPv4 or a bracketed IPv6 address.",
        sent=False,
        connector=name,
    )


def host_not_allowed(name: str, said: str) -> EgressProblem:
    """`said`: the endpoint, if it is a name."""
    return EgressProblem(
        "egress.host_not_allowed",
        f"The connector {name!r} was led to {said}, which it does not name.",
        hint="If it belongs to the same system, list it under `egress.hosts` of the connector, as host or host:port.",
        sent=False,
        connector=name,
    )


def address_denied(name: str, said: str, found: AddressClass) -> EgressProblem:
    """`said`: the host, if it is a name, or "an address"."""
    never = found in NEVER
    return EgressProblem(
        "egress.address_denied",
        f"The connector {name!r} may not connect to {said}: its address is of the class {found}.",
        hint="No connector reaches addresses of this class."
        if never
        else "If this system is meant, list the host or its network under `egress.private` of the connector.",
        sent=False,
        connector=name,
        address_class=str(found),
    )


def unresolved(name: str, said: str) -> EgressProblem:
    """A name without an address. This may pass, unlike a refusal."""
    return EgressProblem(
        "egress.unresolved",
        f"The connector {name!r} cannot reach {said}: the name has no address.",
        hint="Check the name, and whether this machine's resolver knows it.",
        retryable=True,
        sent=False,
        connector=name,
    )


def not_within(name: str, said: str) -> EgressProblem:
    """Secrets would travel where others can read them."""
    return EgressProblem(
        "egress.no_tls",
        f"The connector {name!r} may not send secrets or signed messages to {said} without TLS: it is not within the network.",
        hint="Write https://. Without TLS they go to listed private addresses alone; through a proxy, to hosts that "
        "`egress.private` lists by name.",
        sent=False,
        connector=name,
    )
