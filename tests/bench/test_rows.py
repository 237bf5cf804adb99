"""What `make bench` leaves in bench/latest.json."""

from __future__ import annotations

from bench.rows import load, row, save


def _rows(bench: str, *ours: float) -> list:
    return [row(bench, f"metric {n}", value, "a peer", 2.0, "ms") for n, value in enumerate(ours)]


def test_a_part_measured_again_replaces_its_own_rows_where_they_stand(tmp_path):
    file = tmp_path / "latest.json"
    for part in (_rows("engine", 1.0, 2.0), _rows("jobs", 3.0), _rows("engine", 4.0)):
        save(file, part)
    assert load(file) == _rows("engine", 4.0) + _rows("jobs", 3.0)
    assert not list(tmp_path.glob("*.part"))


def test_a_peer_that_was_not_measured_has_no_ratio():
    assert row("engine", "steps_per_s", 5.0, "a peer; not measured: it is away", None, "1/s")["ratio"] is None
