"""A broker whose judges can each be opened and shut alone, a run in the middle of a PUSH, and a target that notes what it
receives."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from uuid import UUID

import psycopg

from stanchion.base import Denied, Json, digest
from stanchion.blueprints import Block, Op, OpKind, Program, Step
from stanchion.context import Actor, Env
from stanchion.controls.kills import NO_KILLS
from stanchion.controls.withdrawals import NO_WITHDRAWALS
from stanchion.identity import CallVerdict
from stanchion.runs import Pin, Pinned, PinSet
from stanchion.secrets import Secret, SecretRef
from stanchion.tools import effect_key
from stanchion.tools.broker import tokens
from stanchion.tools.broker.service import Broker, Judges
from stanchion.tools.broker.types import BrokerCall, Peer
from stanchion.tools.connectors import connector_of
from stanchion.tools.effects import args_digest
from stanchion.tools.types import Asker, Envelope

PEER = Peer(how="memory", name="worker", session_key=bytes(range(32)))
WEB = replace(PEER, name="web", kinds=frozenset({"web"}))
RECORD: dict[str, Json] = {"case_id": "C1", "outcome": "close"}
PASSWORD = "pl4nted-S3cret/of+the=target"

BODY: dict[str, Any] = {
    "connector": "casebook",
    "owner": "casework",
    "adapter": "noting",
    "environment": "local",
    "timeout": "5s",
    "password": "secret://local/casebook#password",
    "resources": {
        "outcomes": {
            "key": "case_id",
            "fields": {"case_id": {"type": "string"}, "outcome": {"type": ["string", "null"]}},
            "fetch": {},
            "lookup": {},
            "push": {"idempotency": "probe", "effect": "write"},
        }
    },
}


class Noting:
    """An adapter that notes what it is asked and with which credentials; `answer` may be replaced."""

    name = "noting"

    def __init__(self) -> None:
        self.asked: list[tuple[str, Any]] = []
        self.passwords: list[str] = []
        self.answer: Any = None

    def get(self, name: str, *, tenant: str = "", principal: str = "") -> Any:
        assert name == "noting"
        return self

    async def _noted(self, op: str, target: Any, said: Any) -> Any:
        self.asked.append((op, said))
        self.passwords.append(target.credentials.value("/password"))
        if self.answer is not None:
            return await self.answer(target)
        return Envelope(
            records=[] if op == "push" else [{"case_id": "C1", "outcome": None}],
            metrics={"duration_ms": 1},
            trace={},
            narrative=f"{op} done.",
            metadata={"applied": True, "rows": 1, "idempotency_key": said[1]} if op == "push" else {"truncated": False},
        )

    async def fetch(self, target, where, limit, page):
        return await self._noted("fetch", target, (where, limit, page))

    async def lookup(self, target, key):
        return await self._noted("lookup", target, key)

    async def push(self, target, record, key):
        return await self._noted("push", target, (record, key))

    async def probe(self, target, record, key):
        await self._noted("probe", target, (record, key))
        return True

    async def test(self, connector, timeout_s, credentials=None):
        self.asked.append(("test", connector.name))
        return f"Signed in with {credentials.value('/password')}."


class Policy:
    """Permits, and remembers what it was asked; `refusal` is raised instead."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.refusal: Exception | None = None

    def authorize_call(self, question):
        self.asked.append(question)
        if self.refusal is not None:
            raise self.refusal
        return CallVerdict(permitted=True)

    def judge_call(self, question):
        return self.authorize_call(question)


class Principals:
    async def actor(self, tenant, principal):
        return Actor(
            tenant=tenant,
            principal=principal,
            principal_id="1",
            kind="user",
            roles=frozenset({"analyst"}),
            credential="x",
        )


class Persons:
    """Of persons who ask for a test: all may, and who asked is remembered; `refusal` is raised instead."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.refusal: Exception | None = None

    async def check(self, operation, tenant, principal, **resource):
        self.asked.append((operation, tenant, principal, resource))
        if self.refusal is not None:
            raise self.refusal


class Tools:
    """Every tool may be used, as what the connector says."""

    async def judged(self, call, target):
        return target


class Approvals:
    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.refusal: Exception | None = None

    async def covered(self, tx, **said):
        self.asked.append(said)
        if self.refusal is not None:
            raise self.refusal


class Programs:
    """The pinned Blueprint of every run; tests change it."""

    def __init__(self, connector_digest: str) -> None:
        raw = {"connector": "casebook", "resource": "outcomes", "record": "${input}"}
        step = Step(id="record", verb="push", config={}, raw=raw, references=(("connector", "casebook"),))
        self.op = Op(kind=OpKind.STEP, path="record", step=step, exits={})
        self.digest = connector_digest
        # The tool that each read step names, if it does.
        self.tool = ""

    def _read(self, verb: str) -> Op:
        raw: dict[str, Json] = {"connector": "casebook", "resource": "outcomes"}
        if self.tool:
            raw["tool"] = self.tool
        step = Step(id=verb, verb=verb, config={}, raw=raw, references=(("connector", "casebook"),))
        return Op(kind=OpKind.STEP, path=verb, step=step, exits={})

    async def resolve(self, ctx, blueprint):
        raise NotImplementedError

    async def load(self, tenant, pins):
        reads = [self._read(verb) for verb in ("fetch", "lookup")]
        block = Block(path="", ops=(self.op, *reads), output=None, outer=frozenset())
        program = Program(
            name="b", description="", owner="o", input_schema={}, output_schema={}, blocks={"": block}, references=()
        )
        found = (
            Pin(kind="blueprint", name="b", version=1, digest="sha256:blueprint"),
            Pin(kind="connector", name="casebook", version=1, digest=self.digest),
            *([Pin(kind="tool", name=self.tool, version=1, digest="sha256:tool")] if self.tool else []),
        )
        return Pinned(pins=PinSet(digest=pins, pins=found), program=program, bodies={})


class Secrets:
    """One secret, issued to one environment."""

    def __init__(self) -> None:
        self.value, self.before = PASSWORD, ""
        self.issued_to = "local"

    async def resolve(self, tenant, ref: SecretRef, *, environment, connector):
        if environment != self.issued_to:
            raise Denied("secret.wrong_environment", f"Issued to {self.issued_to}, not to {environment}.")
        return Secret(self.value, ref=ref)

    async def previous(self, tenant, ref: SecretRef, *, environment, connector):
        return Secret(self.before, ref=ref) if self.before else None


class Held:
    """A broker and the row of a run that has committed its intent."""

    def __init__(self, env: Env, superuser: str, **body: Any) -> None:
        self.env, self.superuser = env, superuser
        self.run_id: UUID = env.ids.new()
        self.body: dict[str, Any] = {**BODY, "description": str(self.run_id), **body}
        self.digest = digest(self.body)
        self.adapter, self.policy, self.approvals = Noting(), Policy(), Approvals()
        self.programs, self.secrets, self.persons = Programs(self.digest), Secrets(), Persons()
        self.judges = Judges(
            policy=self.policy,
            principals=Principals(),
            persons=self.persons,
            approvals=self.approvals,
            tools=Tools(),
            programs=self.programs,
            kills=NO_KILLS,
            withdrawn=NO_WITHDRAWALS,
            secrets=self.secrets,
        )
        self.broker = self.another()

    def another(self, env: Env | None = None, **judges: Any) -> Broker:
        """A second broker process over the same database."""
        return Broker(env or self.env, self.adapter, replace(self.judges, **judges))

    async def sql(self, query: str, *params: Any) -> list[Any]:
        async with await psycopg.AsyncConnection.connect(self.superuser, autocommit=True) as tx:
            cursor = await tx.execute(query, params)
            return await cursor.fetchall() if cursor.description else []

    async def publish(self) -> None:
        await self.sql("insert into tenants (name, display_name) values ('acme', 'Acme') on conflict do nothing")
        await self.sql(
            "insert into artifacts (tenant, kind, name, version, digest, body, source, source_path, owner, author, changelog)"
            " values ('acme', 'connector', 'casebook', (select coalesce(max(version), 0) + 1 from artifacts where"
            " kind = 'connector'), %s, %s, '', '', 'o', 'ada', '') on conflict do nothing",
            self.digest,
            json.dumps(self.body),
        )

    async def begin(self, *, path: str = "record", state: str = "INTENT", epoch: int = 1, **columns: Any) -> None:
        """The run, its pins, and the effect's row; nothing is known of the connector's target."""
        await self.publish()
        await self.sql("delete from connector_limits")
        await self.sql("delete from connector_breakers")
        pins = [{"kind": "connector", "name": "casebook", "version": 1, "digest": self.digest}]
        await self.sql(
            "insert into pin_sets (tenant, digest, pins) values ('acme', %s, %s) on conflict do nothing",
            digest(pins),
            json.dumps(pins),
        )
        await self.sql(
            "insert into runs (tenant, id, blueprint, version, pins, environment, engine_v, status, input, requested_by,"
            " root_id, epoch, path) values ('acme', %s, 'b', 1, %s, 'local', 1, 'RUNNING', '{}', 'ada', %s, %s, %s)",
            self.run_id,
            digest(pins),
            self.run_id,
            epoch,
            path,
        )
        connector = connector_of(self.body, self.digest)
        row = {
            "key": effect_key(self.run_id, self.run_id, path),
            "connector_digest": self.digest,
            "operation": "outcomes.push",
            "args_digest": args_digest(connector, "outcomes", "push", RECORD),
            "epoch": epoch,
            **columns,
        }
        await self.sql(
            "insert into effects (tenant, id, run_id, path, key, connector, connector_digest, operation, class, idempotency,"
            " args_digest, state, epoch) values ('acme', %s, %s, %s, %s, 'casebook', %s, %s, 'write', 'probe', %s, %s, %s)",
            self.env.ids.new(),
            self.run_id,
            path,
            row["key"],
            row["connector_digest"],
            row["operation"],
            row["args_digest"],
            state,
            row["epoch"],
        )

    async def next_attempt(self) -> None:
        """As the worker's ledger has it when the step tries anew."""
        await self.sql("update effects set attempts = attempts + 1 where run_id = %s", self.run_id)

    def call(self, op: str = "push", **other: Any) -> BrokerCall:
        """A signed call of the run's step."""
        reads = op in {"fetch", "lookup"}
        arguments: Mapping[str, Json] = {"record": RECORD}
        if reads:
            arguments = {"where": {}, "limit": 10, "page": None} if op == "fetch" else {"key": "C1"}
        looks = op in {"test", "discover"}
        asker = Asker(
            **{
                "tenant": "acme",
                "run_id": self.run_id,
                "root_id": self.run_id,
                "path": op if reads else "record",
                "epoch": 1,
                "principal": "ada",
                **other.pop("asker", {}),
            }
        )
        call = BrokerCall(
            **{
                "op": op,
                "tenant": "acme",
                "connector": "casebook",
                "digest": self.digest,
                "resource": "" if looks else "outcomes",
                "operation": "" if looks else op if reads else "push",
                "arguments": {} if looks else arguments,
                "key": "" if reads or looks else effect_key(self.run_id, self.run_id, "record"),
                "timeout_s": 5.0,
                "traceparent": None,
                "asker": None if looks else asker,
                "principal": "ada" if looks else "",
                "token": "",
                **other,
            }
        )
        return replace(call, token=tokens.sign(call, PEER.session_key, self.env.clock.now().timestamp()))

    async def perform(self, op: str = "push", **other: Any) -> Any:
        return await self.broker.perform(self.call(op, **other), WEB if op in {"test", "discover"} else PEER)
