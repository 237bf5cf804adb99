"""Guards, gates, exits, outputs, failures."""

from __future__ import annotations

import pytest

from stanchion.base import Invalid, NotFound, Unavailable
from stanchion.runs import StepFailed, list_steps, show
from stanchion.runs.rules import digest_of_steps

HEAD = """
    blueprint: {name}
    description: A test.
    owner: tests
    input:
      type: object
      properties: {{n: {{type: integer}}}}
"""
GATED = (
    HEAD.format(name="gated")
    + """
    steps:
      - id: skipped
        if: input.n > 100
        transform: {value: never}
      - id: risk
        logic_gate:
          if: input.n > 10
          then:
            - id: high
              transform: {value: "high ${string(input.n)}"}
          else:
            - id: low
              transform: {value: low}
      - id: nested
        if: input.n > 10
        logic_gate:
          if: input.n > 20
          then:
            - id: huge
              transform: {value: huge}
      - id: last
        probe: {name: last, value: "${input.n}"}
    output: "${steps.last}"
"""
)


def one_probe(name: str, extra: str = "") -> str:
    return (
        HEAD.format(name=name)
        + f"""
    steps:
      - id: first
        probe: {{name: first, value: 1}}
{extra}
      - id: last
        transform: {{value: done}}
    output: "${{steps.last.value}}"
"""
    )


@pytest.mark.parametrize(
    ("n", "expected"),
    [
        (
            5,
            {
                "skipped": "SKIPPED",
                "risk": "SUCCEEDED",
                "risk/else/low": "SUCCEEDED",
                "nested": "SKIPPED",
                "last": "SUCCEEDED",
            },
        ),
        (
            15,
            {
                "skipped": "SKIPPED",
                "risk": "SUCCEEDED",
                "risk/then/high": "SUCCEEDED",
                "nested": "SUCCEEDED",
                "last": "SUCCEEDED",
            },
        ),
        (
            25,
            {
                "skipped": "SKIPPED",
                "risk": "SUCCEEDED",
                "risk/then/high": "SUCCEEDED",
                "nested": "SUCCEEDED",
                "nested/then/huge": "SUCCEEDED",
                "last": "SUCCEEDED",
            },
        ),
    ],
)
async def test_gates_and_guards(world, n, expected):
    async with world.worker():
        run_id = await world.start(GATED, {"n": n})
        run = await world.ended(run_id)
    assert run["status"] == "SUCCEEDED", run["error"]
    steps = await world.steps(run_id)
    assert {path: s["status"] for path, s in steps.items()} == expected
    assert steps["risk"]["output"] == {"branch": "then" if n > 10 else "else"}
    assert run["output"] == {"value": n}


async def test_no_step_executes_before_its_row_is_committed(world):
    """I1: the handler itself looks, on another connection."""

    async def look(call):
        rows = await world.rows(
            "select status from step_runs where run_id = %s and path = %s", call.claim.run_id, call.path
        )
        return [row["status"] for row in rows]

    world.probe.script["last"] = look
    async with world.worker():
        for n in (5, 25):
            run = await world.ended(await world.start(GATED, {"n": n}))
            assert run["output"] == ["RUNNING"]


async def test_the_end_is_recorded_with_the_digest_of_the_steps_as_stored(world):
    async with world.worker():
        run_id = await world.start(GATED, {"n": 25})
        await world.ended(run_id)
    records = await world.rows("select event_type, record from audit_records where run_id = %s order by id", run_id)
    assert [r["event_type"] for r in records] == ["run.started", "run.ended"]
    stored = digest_of_steps(await list_steps(world.ctx, run_id))
    assert stored in records[1]["record"]


async def test_a_failure_ends_the_run_as_a_dead_letter(world):
    def fail(call):
        raise Invalid("tests.broken", "It is broken.", hint="Mend it.")

    world.probe.script["first"] = fail
    async with world.worker():
        run_id = await world.start(one_probe("fails"))
        run = await world.ended(run_id)
    assert run["status"] == "FAILED"
    assert run["error"] == {"code": "tests.broken", "message": "It is broken.", "hint": "Mend it.", "step": "first"}
    assert run["dead_reason"] == "tests.broken"
    assert {p: s["status"] for p, s in (await world.steps(run_id)).items()} == {"first": "FAILED"}


async def test_a_decided_failure_is_no_dead_letter(world):
    def reject(call):
        raise StepFailed(Invalid("approval.rejected", "No."), dead=False)

    world.probe.script["first"] = reject
    async with world.worker():
        run = await world.ended(await world.start(one_probe("rejects")))
    assert (run["status"], run["dead_reason"]) == ("FAILED", None)


async def test_a_defect_of_a_handler_fails_its_step_only(world):
    def crash(call):
        raise ZeroDivisionError("secret content")

    world.probe.script["first"] = crash
    async with world.worker():
        run = await world.ended(await world.start(one_probe("crashes")))
        world.probe.script.clear()
        other = await world.ended(await world.start(one_probe("fine")))
    assert run["error"]["code"] == "step.defect"
    assert "secret" not in str(run["error"])
    assert other["status"] == "SUCCEEDED"


RETRIED = "        retry: {attempts: 3, backoff: constant, initial: 10ms, max: 10ms}"


async def test_retries_are_durable_and_keep_their_failures(world):
    def flaky(call):
        if call.attempt < 3:
            raise Unavailable("tests.away", f"Away at attempt {call.attempt}.")
        return {"attempt": call.attempt, "resumed": call.resumed}

    world.probe.script["first"] = flaky
    async with world.worker():
        run_id = await world.start(one_probe("flaky", RETRIED))
        run = await world.ended(run_id)
    assert run["status"] == "SUCCEEDED", run["error"]
    step = (await world.steps(run_id))["first"]
    assert step["output"] == {"attempt": 3, "resumed": False}
    assert [e["message"] for e in step["errors"]] == ["Away at attempt 1.", "Away at attempt 2."]
    assert run["epoch"] == 3


async def test_retries_end(world):
    def away(call):
        raise Unavailable("tests.away", "Away.")

    world.probe.script["first"] = away
    async with world.worker():
        run_id = await world.start(one_probe("away", RETRIED))
        run = await world.ended(run_id)
    assert (run["status"], run["dead_reason"]) == ("FAILED", "tests.away")
    step = (await world.steps(run_id))["first"]
    assert step["attempt"] == 3
    assert len(step["errors"]) == 3
    assert len(world.probe.calls) == 3


async def test_a_step_is_held_to_its_timeout(world):
    import asyncio

    async def forever(call):
        await asyncio.Event().wait()

    world.probe.script["first"] = forever
    async with world.worker():
        run = await world.ended(await world.start(one_probe("slow", "        timeout: 30ms")))
    assert run["error"]["code"] == "step.timeout"


async def test_an_output_above_the_limit_fails_its_step(world):
    world.probe.script["first"] = lambda call: "x" * (1 << 20)
    async with world.worker():
        run = await world.ended(await world.start(one_probe("large")))
    assert run["error"]["code"] == "step.output_too_large"


async def test_a_row_the_database_refuses_fails_alone(world):
    """I4: many runs share the commit; one of them returns what PostgreSQL cannot store."""
    world.probe.script["first"] = lambda call: "\x00" if call.config["value"] == 7 else call.config["value"]
    source = one_probe("bad-row").replace("value: 1}", 'value: "${input.n}"}')
    name = world.resolver.add(source)
    ids = [await world.start(name, {"n": n}) for n in range(20)]
    async with world.worker():
        runs = [await world.ended(run_id) for run_id in ids]
    assert [r["status"] for r in runs] == ["FAILED" if n == 7 else "SUCCEEDED" for n in range(20)]
    assert runs[7]["error"]["code"] == "step.output_unstorable"
    assert runs[7]["error"]["step"] == "first"


async def test_an_expression_that_fails_names_its_step(world):
    source = (
        HEAD.format(name="divides")
        + """
    steps:
      - id: half
        transform: {value: "${10 / input.n}"}
"""
    )
    async with world.worker():
        run = await world.ended(await world.start(source, {"n": 0}))
    assert (run["status"], run["error"]["step"]) == ("FAILED", "half")


async def test_input_is_checked(world):
    with pytest.raises(Invalid) as caught:
        await world.start(one_probe("checked"), {"n": "one"})
    assert caught.value.code == "run.input_invalid"
    assert caught.value.fields["errors"][0]["pointer"] == "/n"
    with pytest.raises(NotFound):
        await world.start("nothing-like-it")


async def test_show_has_pins_and_digest(world):
    run_id = await world.start(one_probe("shown"))
    detail = await show(world.ctx, run_id)
    assert detail.digest == world.resolver.live["shown"].blueprint.digest
    assert detail.waiting_on is not None
    assert detail.waiting_on.kind == "worker"
    assert "No live worker serves queue default" in detail.waiting_on.text
