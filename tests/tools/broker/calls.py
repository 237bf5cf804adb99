"""A call of the broker, for tests."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from stanchion.tools.broker.types import BrokerCall
from stanchion.tools.types import Asker

RUN = UUID("0199c1f0-0000-7000-8000-000000000001")
DIGEST = "sha256:" + "9f" * 32


def asker(**other: Any) -> Asker:
    return Asker(
        **{
            "tenant": "acme",
            "run_id": RUN,
            "root_id": RUN,
            "path": "triage/record",
            "epoch": 3,
            "principal": "ada",
            **other,
        }
    )


def a_call(**other: Any) -> BrokerCall:
    return BrokerCall(
        **{
            "op": "push",
            "tenant": "acme",
            "connector": "casebook",
            "digest": DIGEST,
            "resource": "outcomes",
            "operation": "push",
            "arguments": {"record": {"case_id": "C1"}, "raw": {"case_id": "C1"}},
            "key": "eff_1",
            "timeout_s": 5.0,
            "traceparent": None,
            "asker": asker(),
            "token": "",
            **other,
        }
    )
