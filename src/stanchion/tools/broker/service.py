"""What the broker does with one authenticated call, between the socket and the adapter."""

from __future__ import annotations

from collections.abc import Mapping

from stanchion.base import Json, Unavailable
from stanchion.context import Env
from stanchion.controls.kills import Kills
from stanchion.controls.withdrawals import Withdrawals
from stanchion.tools.adapters import Adapters
from stanchion.tools.broker.types import ApprovalBinding, BrokerCall, CallPolicy, Peer
from stanchion.tools.types import Envelope


class Broker:
    """Performs calls. Built once per broker process; it alone holds the adapters that touch the outside.

    Args:
        env: of the broker process, its database open.
        adapters: that really call.
        policy: decides by Cedar.
        approvals: looks again at the binding of an approval.
        kills, withdrawn: kept fresh in this process.
    """

    def __init__(
        self,
        env: Env,
        adapters: Adapters,
        *,
        policy: CallPolicy,
        approvals: ApprovalBinding,
        kills: Kills,
        withdrawn: Withdrawals,
    ) -> None:
        self._env = env
        self._adapters = adapters
        self._policy = policy
        self._approvals = approvals
        self._kills = kills
        self._withdrawn = withdrawn

    async def perform(self, call: BrokerCall, peer: Peer) -> Envelope | Mapping[str, Json]:
        """Check and perform one call.

        Returns the adapter's envelope for fetch, lookup, push and execute; `{applied}` for probe, `{detail}` for test,
        what the target offers for discover. Raises Problem; nothing that a caller sees holds a credential (I9).
        """
        raise Unavailable(
            "broker.not_ready",
            f"The broker takes no {call.op} from {peer.how} {peer.name} yet.",
            hint="Try again in a moment.",
        )
