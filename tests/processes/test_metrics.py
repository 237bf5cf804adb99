"""One page of metrics for the processes of a data folder."""

from __future__ import annotations

from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from stanchion.processes.health import HealthServer
from stanchion.processes.metrics import Siblings, merged
from stanchion.telemetry import Telemetry


def test_pages_are_merged_by_family_and_labelled_by_process() -> None:
    one, two = Telemetry(process="web"), Telemetry(process="worker-1")
    one.emit("http.answered", 1, "GET", "/", "200")
    two.emit("claim.size", 3.0)
    two.emit("write.fenced", 2.0)
    page = merged([("web", one.expose()), ("worker-1", two.expose())]).decode()
    families = {family.name: family for family in text_string_to_metric_families(page)}
    fenced = {
        s.labels["process"]: s.value for s in families["stanchion_fenced_writes"].samples if s.name.endswith("_total")
    }
    assert fenced == {"web": 0.0, "worker-1": 2.0}
    assert page.count("# TYPE stanchion_fenced_writes_total ") == 1
    [answered] = [s for s in families["stanchion_http_requests"].samples if s.name.endswith("_total")]
    assert answered.labels == {"process": "web", "method": "GET", "route": "/", "status": "200"}


async def test_siblings_answer_on_their_sockets_and_the_dead_are_left_out(tmp_path: Path) -> None:
    async def needs() -> dict[str, str]:
        return {}

    web, worker = Telemetry(process="web"), Telemetry(process="worker-1")
    worker.emit("worker.running", 7.0)
    (tmp_path / "worker-2.sock").touch()
    async with HealthServer(tmp_path / "worker-1.sock", worker, needs):
        page = (await Siblings(tmp_path, web).expose()).decode()
    assert 'stanchion_runs_running{process="worker-1"} 7.0' in page
    assert "worker-2" not in page
