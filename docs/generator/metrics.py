"""Every series and every event of the telemetry catalogue."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from docs.generator.tables import code, table

from stanchion.telemetry.catalogue import CATALOGUE


def _series() -> str:
    rows = [
        (
            code(f"stanchion_{spec.metric}"),
            spec.type,
            ", ".join(code(label) for label in spec.labels) or "–",
            spec.help,
        )
        for spec in CATALOGUE.values()
        if spec.metric
    ]
    return table(("series", "type", "labels", "meaning"), rows)


def _events() -> str:
    rows = [
        (code(spec.name), code(spec.log), code(f"stanchion_{spec.metric}") if spec.metric else "–", spec.help)
        for spec in CATALOGUE.values()
        if spec.log != "none"
    ]
    return table(("event", "level", "series", "meaning"), rows)


def _buckets() -> str:
    bounds: dict[tuple[float, ...], list[str]] = {}
    for spec in CATALOGUE.values():
        if spec.buckets:
            bounds.setdefault(spec.buckets, []).append(code(f"stanchion_{spec.metric}"))
    rows = [(", ".join(names), ", ".join(f"{b:g}" for b in buckets)) for buckets, names in bounds.items()]
    return table(("series", "upper bounds of its buckets"), rows)


PARTS: Mapping[str, Callable[[], str]] = {
    "metrics.series": _series,
    "metrics.events": _events,
    "metrics.buckets": _buckets,
}
