"""What is in a bundle: the members of its payload as the code reads them, and its bounds."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from docs.generator.tables import code, table
from pydantic import BaseModel

from stanchion.artifacts import BODY_BYTES_MAX
from stanchion.releases.bundles import codec
from stanchion.releases.bundles import types as bundles

_PARTS: Mapping[type[BaseModel], tuple[str, Mapping[str, str]]] = {
    codec.PayloadPart: (
        "",
        {
            "format": "1",
            "origin": "where it was made",
            "content": "digest over the list of [kind, name, digest] of its artifacts: the same for every bundle of the same versions",
            "selected": "the [kind, name] that were asked for; the other artifacts are what those refer to",
            "artifacts": "the versions, in the order of kind and name, each artifact once",
        },
    ),
    codec.OriginPart: (
        "origin.",
        {
            "environment": "of the deployment that signed it",
            "production": "whether that one is production",
            "tenant": "whose releases these are there",
            "exported_by": "the principal",
            "exported_at": "when, RFC 3339 in UTC",
            "reason": "why",
            "stanchion": "the version that wrote it",
        },
    ),
    codec.MemberPart: (
        "artifacts[].",
        {
            "kind": "",
            "name": "",
            "version": "its number there; here it gets the next one of this deployment",
            "digest": "over the canonical JSON of `body`; the same everywhere",
            "body": "the content",
            "refs": "the [kind, name] that it refers to, each of which is in the bundle",
            "source": "the text as its author wrote it, from which `body` is made again on arrival",
            "source_path": "where that stood; relative, without `..`",
            "owner": "",
            "author": "who published it there",
            "changelog": "",
            "created_at": "",
            "labels": "",
            "risk": "`low`, `medium` or `high`",
            "live": "whether it was live there",
            "evidence": "what gates there knew of this digest",
        },
    ),
    codec.EvidencePart: (
        "artifacts[].evidence[].",
        {"digest": "over the canonical JSON of `record`", "record": "the record, as it was kept there"},
    ),
}


def _fields() -> str:
    rows: list[tuple[str, str]] = []
    for model, (prefix, said) in _PARTS.items():
        if differ := set(model.model_fields) ^ said.keys():
            raise SystemExit(f"bundles: the members of {model.__name__} differ: {', '.join(sorted(differ))}")
        rows += [(code(prefix + name), said[name]) for name in model.model_fields]
    return table(("member", "what"), rows)


def _bounds() -> str:
    return table(
        ("at most", ""),
        [
            (f"{bundles.FILE_BYTES_MAX >> 20} MiB", "a file; over HTTP also `web.body_bytes_max`"),
            (str(bundles.MEMBERS_MAX), "artifacts"),
            (f"{BODY_BYTES_MAX >> 10} KiB", "the body of one"),
            (str(bundles.EVIDENCE_MAX), "records of evidence of one"),
            (str(bundles.DEPTH_MAX), "levels of nesting"),
        ],
    )


PARTS: Mapping[str, Callable[[], str]] = {"bundles.fields": _fields, "bundles.bounds": _bounds}
