"""Start, claim, linear steps, checkpoint, end."""

from __future__ import annotations

FIVE = """
    blueprint: five
    description: Five steps, each over the one before.
    owner: tests
    input:
      type: object
      required: [n]
      properties: {n: {type: integer}}
    steps:
      - id: a
        transform: {value: "${input.n + 1}"}
      - id: b
        transform: {value: "${steps.a.value + 1}"}
      - id: c
        transform: {value: "${steps.b.value + 1}"}
      - id: d
        transform: {value: "${steps.c.value + 1}"}
      - id: e
        transform: {value: "${steps.d.value + 1}"}
    output: "${steps.e.value}"
"""


async def test_a_run_goes_through_its_steps(world):
    async with world.worker():
        run_id = await world.start(FIVE, {"n": 1})
        run = await world.ended(run_id)
    assert run["status"] == "SUCCEEDED", run["error"]
    assert run["output"] == 6
    steps = await world.steps(run_id)
    assert [(p, s["status"], s["output"]) for p, s in steps.items()] == [
        (p, "SUCCEEDED", {"value": n}) for n, p in enumerate("abcde", 2)
    ]
    assert run["worker_id"] is None
    assert run["strikes"] == 0
    assert run["epoch"] == 1
