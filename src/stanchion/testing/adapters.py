"""The suite: what `stanchion.tools.adapter` promises, asked of one adapter and a system of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, cast
from unittest import SkipTest

from stanchion.base import Json
from stanchion.testing.trial import Trial
from stanchion.tools.adapter import AdapterProblem
from stanchion.tools.adapters import adapter_faults
from stanchion.tools.types import ENVELOPE_V, Envelope, Record

KEY = "eff_" + "a" * 64
OTHER_KEY = "eff_" + "b" * 64
# Pages that nobody returned, and keys that are values and nothing else.
_PAGES = ("nonsense", "-1", "9" * 30, "eyJhIjoxfQ", "../../etc")
_KEYS = ("' or 1=1 --", "x; drop table cases", "../x", "x/../y", "x?a=b", "%43%31", "x#", "{key}", "$(id)", "x\u0000")
_FAULT_S = 1.0


def expect(condition: object, words: str) -> None:
    """Fail the test with `words` unless the condition holds."""
    if not condition:
        raise AssertionError(words)


class AdapterSuite:
    """Subclass it as `Test…` and give it a `trial`."""

    def trial(self, folder: Path) -> AbstractAsyncContextManager[Trial]:  # noqa: ARG002 - for who overrides it
        """A system to test with, in an empty folder of its own: an async context manager."""
        raise TypeError("Override `trial`: it yields a stanchion.testing.Trial.")

    def test_fills_the_contract(self, tmp_path: Path) -> None:
        """Every attribute and method is there, schemas are schemas, and a push requires its idempotency."""

        async def test(trial: Trial) -> None:
            faults = adapter_faults(trial.adapter, trial.adapter.name)
            expect(not faults, "; ".join(faults))

        self._run(tmp_path, test)

    def test_its_document_is_published(self, tmp_path: Path) -> None:
        """The document has no fault, and one with a field that the adapter does not know has."""

        async def test(trial: Trial) -> None:
            said = trial.complaints(trial.document)
            expect(not said, f"Publishing the trial's document says: {said}")
            said = trial.complaints({**trial.document, "no_such_setting": 1})
            expect(said, "A document with the unknown field `no_such_setting` is published without a complaint.")

        self._run(tmp_path, test)

    def test_reads_all_in_order(self, tmp_path: Path) -> None:
        """One fetch gives every record, typed as declared, in an envelope that says what was done."""

        async def test(trial: Trial) -> None:
            _needs(trial, "fetch")
            target = trial.target(trial.reads, "fetch")
            envelope = await trial.adapter.fetch(target, _where(trial), 10_000, None)
            expect(list(envelope.records) == list(trial.records), f"fetched {list(envelope.records)}")
            _well_formed(envelope, trial, "fetch")
            expect(envelope.metadata.get("truncated") is False, "`metadata.truncated` of a whole fetch is not False")
            expect(envelope.metadata.get("page", 0) is None, "`metadata.page` of a whole fetch is not None")

        self._run(tmp_path, test)

    def test_pages_cover_everything_once(self, tmp_path: Path) -> None:
        """Whatever the limit, pages one after the other give each record once."""

        async def test(trial: Trial) -> None:
            _needs(trial, "fetch")
            for limit in (1, 2, max(1, len(trial.records))):
                found = await _paged(trial, limit)
                expect(found == list(trial.records), f"pages of {limit} gave {found}")

        self._run(tmp_path, test)

    def test_refuses_a_page_that_it_never_returned(self, tmp_path: Path) -> None:
        """A page is the adapter's own word; another is `adapter.bad_page`."""

        async def test(trial: Trial) -> None:
            _needs(trial, "fetch")
            target = trial.target(trial.reads, "fetch")
            for page in _PAGES:
                problem = await _problem(trial.adapter.fetch(target, _where(trial), 10, page), f"the page {page!r}")
                expect(problem.code == "adapter.bad_page", f"the page {page!r} gave {problem.code}")

        self._run(tmp_path, test)

    def test_looks_up_by_key(self, tmp_path: Path) -> None:
        """Each record is found by its key; one that is not there is an empty envelope, not an error."""

        async def test(trial: Trial) -> None:
            _needs(trial, "lookup")
            target = trial.target(trial.reads, "lookup")
            for record in trial.records:
                found = await trial.adapter.lookup(target, record[target.resource.key])
                expect(list(found.records) == [record], f"looked up {list(found.records)}, not {record}")
                _well_formed(found, trial, "lookup")
            missing = await trial.adapter.lookup(target, "no-such-record")
            expect(not missing.records, f"a key that is not there gave {list(missing.records)}")
            expect(missing.metadata.get("found") is False, "`metadata.found` of a missing record is not False")

        self._run(tmp_path, test)

    def test_a_key_is_a_value_and_nothing_else(self, tmp_path: Path) -> None:
        """Keys that look like statements, paths or templates find nothing and break nothing."""

        async def test(trial: Trial) -> None:
            _needs(trial, "lookup")
            target = trial.target(trial.reads, "lookup")
            for key in _KEYS:
                try:
                    found = await trial.adapter.lookup(target, key)
                except AdapterProblem as problem:
                    expect(not problem.sent, f"the key {key!r} is said to have changed something")
                else:
                    expect(not found.records, f"the key {key!r} found {list(found.records)}")
            first = trial.records[0]
            found = await trial.adapter.lookup(target, first[target.resource.key])
            expect(list(found.records) == [first], "after hostile keys the first record is not found any more")

        self._run(tmp_path, test)

    def test_a_value_of_another_type_stops(self, tmp_path: Path) -> None:
        """A value that is not of its field's type is `adapter.wrong_type`, by field and without the value."""

        async def test(trial: Trial) -> None:
            _needs(trial, "fetch")
            name = next((n for n, v in trial.records[0].items() if isinstance(v, str) and not v.isdigit()), None)
            if name is None:
                raise SkipTest("the first record has no text")
            changed = trial.with_fields(**{name: {"type": "integer"}})
            asked = changed.adapter.fetch(changed.target(trial.reads, "fetch"), _where(trial), 10, None)
            problem = await _problem(asked, f"{name} declared as integer")
            expect(
                problem.code == "adapter.wrong_type",
                f"gave {problem.code}; use read_record of stanchion.tools.adapters",
            )
            expect(name in problem.message, f"the message does not name the field: {problem.message}")
            expect(
                str(trial.records[0][name]) not in problem.message, f"the message quotes the value: {problem.message}"
            )

        self._run(tmp_path, test)

    def test_a_declared_field_that_is_not_there(self, tmp_path: Path) -> None:
        """It is `adapter.missing_field`, or null where its type allows that."""

        async def test(trial: Trial) -> None:
            _needs(trial, "fetch")
            changed = trial.with_fields(stanchion_absent={"type": "string"})
            asked = changed.adapter.fetch(changed.target(trial.reads, "fetch"), _where(trial), 10, None)
            try:
                problem = await _problem(asked, "a field that is not there")
            except AssertionError:
                raise SkipTest("the target itself gives what is asked for") from None
            expect(problem.code in {"adapter.missing_field", "adapter.refused", "adapter.bad_file"}, problem.code)

        self._run(tmp_path, test)

    def test_reads_change_nothing(self, tmp_path: Path) -> None:
        """After every kind of read the target has received no write."""

        async def test(trial: Trial) -> None:
            _needs(trial, "fetch")
            await _paged(trial, 2)
            await trial.adapter.test(trial.connector(), 5.0, trial.told())
            await trial.adapter.discover(trial.connector(), 5.0, trial.told())
            expect(await _received(trial) == 0, "a read changed the target")

        self._run(tmp_path, test)

    def test_a_write_is_applied_once_under_its_key(self, tmp_path: Path) -> None:
        """As the resource's `idempotency` says: with all but `none`, the same push again changes nothing."""

        async def test(trial: Trial) -> None:
            _needs(trial, "push")
            target, push = trial.target(trial.writes, "push"), trial.adapter.push
            first = await push(target, trial.record, KEY)
            _well_formed(first, trial, "push")
            expect(first.metadata.get("applied") is True, "`metadata.applied` of the first push is not True")
            expect(first.metadata.get("idempotency_key") == KEY, "`metadata.idempotency_key` is not the key")
            expect(await _received(trial) == 1, f"one push, and the target received {await _received(trial)}")
            if target.operation.idempotency == "none":
                return
            again = await push(target, trial.record, KEY)
            expect(
                await _received(trial) == 1, f"the same push twice, and the target received {await _received(trial)}"
            )
            if target.operation.idempotency == "probe":
                expect(again.metadata.get("applied") is False, "`metadata.applied` of a repeated push is not False")

        self._run(tmp_path, test)

    def test_many_at_once_under_one_key_write_once(self, tmp_path: Path) -> None:
        """A dead worker's late write and its successor's repetition, at the same time."""

        async def test(trial: Trial) -> None:
            _needs(trial, "push")
            target = trial.target(trial.writes, "push", 20.0)
            if target.operation.idempotency == "none":
                raise SkipTest("the idempotency is `none`: a repetition is a person's to settle")
            done = await asyncio.gather(*(trial.adapter.push(target, trial.record, KEY) for _ in range(6)))
            applied = sum(bool(envelope.metadata["applied"]) for envelope in done)
            expect(applied >= 1, "of six pushes none says that it was applied")
            expect(await _received(trial) == 1, f"six pushes under one key, received {await _received(trial)}")

        self._run(tmp_path, test)

    def test_the_target_can_be_asked(self, tmp_path: Path) -> None:
        """With `idempotency: probe`, the probe is right before and after the write, and for another key."""

        async def test(trial: Trial) -> None:
            _needs(trial, "push")
            target, probe = trial.target(trial.writes, "push"), trial.adapter.probe
            if target.operation.idempotency != "probe":
                raise SkipTest("the idempotency is not `probe`")
            expect(await probe(target, trial.record, KEY) is False, "the probe finds a write before it was made")
            await trial.adapter.push(target, trial.record, KEY)
            expect(await probe(target, trial.record, KEY) is True, "the probe does not find the write")
            expect(await probe(target, trial.record, OTHER_KEY) is False, "the probe finds a write under another key")

        self._run(tmp_path, test)

    def test_reaches_the_target(self, tmp_path: Path) -> None:
        """`test` returns a sentence, `discover` says what can be done, and what it found can be published."""

        async def test(trial: Trial) -> None:
            said = await trial.adapter.test(trial.connector(), 5.0, trial.told())
            expect(said.strip().endswith("."), f"`test` returned {said!r}, which is no sentence")
            found = await trial.adapter.discover(trial.connector(), 5.0, trial.told())
            expect(found.narrative.strip().endswith("."), f"`narrative` is {found.narrative!r}, which is no sentence")
            strange = set(found.capabilities) - {"fetch", "lookup", "push", "execute"}
            expect(not strange, f"`capabilities` names {strange}, which are no operations")
            if found.resources:
                document = {**trial.document, "resources": {n: dict(b) for n, b in found.resources.items()}}
                said = trial.complaints(cast("dict[str, Json]", document))
                expect(not said, f"what was discovered cannot be published: {said}")
            for text in (said, found.narrative):
                expect(not trial.shows_secret(str(text)), "a credential is shown")

        self._run(tmp_path, test)

    def test_every_fault_is_a_problem(self, tmp_path: Path) -> None:
        """In each of the trial's faults every operation ends in time, as an AdapterProblem without credentials; a push that
        says it was not sent has written nothing; after the fault the adapter works again."""

        async def test(trial: Trial) -> None:
            if not trial.faults:
                raise SkipTest("the trial has no `faults`")
            for name, fault in trial.faults.items():
                before = None if trial.received is None else await trial.received()
                certain = False
                async with fault():
                    for verb, call in _calls(trial, _FAULT_S).items():
                        async with asyncio.timeout(_FAULT_S * 5):
                            problem = await _problem(call(), f"{verb} while the target is {name}")
                        certain = verb == "push" and problem.fields.get("sent") is False
                        if verb != "push":
                            expect(not problem.sent, f"{verb} while the target is {name} is said to have written")
                        said = f"{problem} {problem.fields}"
                        expect(not trial.shows_secret(said), f"{verb} while the target is {name} shows a credential")
                if certain and before is not None:
                    words = f"push while the target is {name} says `sent=False`, and the target received it"
                    expect(await _received(trial) == before, words)
            if trial.offers(trial.reads, "fetch"):
                expect(
                    await _paged(trial, 2) == list(trial.records), "after the faults the records are not read any more"
                )

        self._run(tmp_path, test)

    def test_a_cancelled_call_leaves_the_adapter_usable(self, tmp_path: Path) -> None:
        """A call that is broken off at any moment breaks no later one."""

        async def test(trial: Trial) -> None:
            _needs(trial, "fetch")
            target = trial.target(trial.reads, "fetch")
            for delay_s in (0.0, 0.0001, 0.001, 0.005):
                task = asyncio.ensure_future(trial.adapter.fetch(target, _where(trial), 10, None))
                await asyncio.wait({task}, timeout=delay_s)
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
            expect(
                await _paged(trial, 2) == list(trial.records), "after cancelled calls the records are not read any more"
            )

        self._run(tmp_path, test)

    def _run(self, folder: Path, test: Callable[[Trial], Coroutine[Any, Any, None]]) -> None:
        async def whole() -> None:
            async with self.trial(folder) as trial:
                try:
                    await test(trial)
                finally:
                    await trial.adapter.close()

        asyncio.run(whole())


def _needs(trial: Trial, verb: str) -> None:
    resource = trial.writes if verb == "push" else trial.reads
    if not trial.offers(resource, verb):
        raise SkipTest(f"the trial has nothing to {verb}")


def _where(trial: Trial) -> Record:
    """The trial's parameters, and null for those it leaves out, as a step's are."""
    parameters = trial.target(trial.reads, "fetch").operation.parameters
    return {**dict.fromkeys(parameters), **trial.where}


async def _received(trial: Trial) -> int:
    if trial.received is None:
        raise SkipTest("the trial does not say what was `received`")
    return await trial.received()


async def _paged(trial: Trial, limit: int) -> list[Record]:
    target, found, page = trial.target(trial.reads, "fetch"), list[Record](), None
    for _ in range(len(trial.records) * 2 + 2):
        envelope = await trial.adapter.fetch(target, _where(trial), limit, page)
        expect(len(envelope.records) <= limit, f"a fetch of at most {limit} gave {len(envelope.records)} records")
        found += envelope.records
        page = envelope.metadata.get("page")
        expect(envelope.metadata.get("truncated") is (page is not None), "`truncated` and `page` do not fit together")
        if page is None:
            return found
        expect(isinstance(page, str), f"`metadata.page` is a {type(page).__name__}, not a text")
        page = cast("str", page)
    raise AssertionError(f"pages of {limit} do not come to an end")


async def _problem(asked: Awaitable[object], while_: str) -> AdapterProblem:
    try:
        found = await asked
    except AdapterProblem as problem:
        return problem
    except Exception as error:
        raise AssertionError(f"{while_}: raised {type(error).__name__}, not an AdapterProblem") from error
    raise AssertionError(f"{while_}: no problem, but {found!r:.200}")


def _calls(trial: Trial, timeout_s: float) -> dict[str, Callable[[], Awaitable[object]]]:
    """Every operation that the trial offers, each as a call."""
    calls: dict[str, Callable[[], Awaitable[object]]] = {
        "test": lambda: trial.adapter.test(trial.connector(), timeout_s, trial.told())
    }
    if trial.offers(trial.reads, "fetch"):
        fetch = trial.target(trial.reads, "fetch", timeout_s)
        calls["fetch"] = lambda: trial.adapter.fetch(fetch, _where(trial), 10, None)
    if trial.offers(trial.reads, "lookup"):
        lookup = trial.target(trial.reads, "lookup", timeout_s)
        calls["lookup"] = lambda: trial.adapter.lookup(lookup, trial.records[0][lookup.resource.key])
    if trial.offers(trial.writes, "push"):
        push = trial.target(trial.writes, "push", timeout_s)
        calls["push"] = lambda: trial.adapter.push(push, trial.record, KEY)
    return calls


def _well_formed(envelope: Envelope, trial: Trial, operation: str) -> None:
    connector = trial.connector()
    expect(envelope.schema_v == ENVELOPE_V, f"`schema_v` is {envelope.schema_v}")
    expect(envelope.narrative.strip().endswith("."), f"`narrative` is {envelope.narrative!r}, which is no sentence")
    expect("traceparent" in envelope.trace, "`trace` has no `traceparent` though the target had one")
    for name in ("duration_ms", "calls"):
        expect(isinstance(envelope.metrics.get(name), int), f"`metrics.{name}` is no whole number")
    resource = trial.writes if operation == "push" else trial.reads
    wanted = {"adapter": connector.adapter, "connector": connector.name, "resource": resource, "operation": operation}
    for name, value in wanted.items():
        expect(
            envelope.metadata.get(name) == value, f"`metadata.{name}` is {envelope.metadata.get(name)!r}, not {value!r}"
        )
