"""Real processes under load: how soon a kill is effective in two web processes and two workers, also when its notification
is lost; and what becomes of the runs in flight."""

from __future__ import annotations

import pytest

from tests.support.deployment import Deployment, Load, deployed, said, within_promise

KILLS = 20


@pytest.fixture(scope="module")
def deployment(cluster, tmp_path_factory):
    with deployed(cluster, tmp_path_factory.mktemp("kills")) as made:
        yield made


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("notified", [True, False], ids=["notified", "notifications lost"])
def test_a_kill_is_effective_everywhere_and_nothing_is_lost_or_doubled(deployment: Deployment, notified: bool) -> None:
    deployment.clear()
    load, web, workers = Load(deployment), [], []
    try:
        for _ in range(KILLS):
            load.flows()
            blueprint = deployment.kill(("blueprint", "idle"), notified=notified)
            web += deployment.refused_after(blueprint)
            connector = deployment.kill(("connector", "ledger"), notified=notified)
            workers += deployment.held_after(connector)
            for kill_id in (blueprint, connector):
                deployment.lift(kill_id)
    finally:
        load.stop()
    assert deployment.written() == load.numbers
    for what, took in (("two web processes", web), ("two workers", workers)):
        print(f"\n{what}, {'notified' if notified else 'notifications lost'}: a kill is effective after {said(took)};"
              f" {len(load.numbers)} runs, none lost or doubled")  # fmt: skip
        assert within_promise(took)
