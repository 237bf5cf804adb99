"""Stores of objects for the conformance suite: a folder, and a stand-in for S3."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from stanchion.secrets import Secret, SecretRef
from stanchion.tools.adapter import Target
from stanchion.tools.adapters.registry import Adapters
from stanchion.tools.credentials import Credentials
from tests.conformance.worlds import CASE_FIELDS, CASES, OUTCOME_FIELDS, World, checked, document
from tests.support.s3 import Bucket


def told_secret(value: str) -> Secret:
    """A secret as the broker hands it on."""
    return Secret(value, ref=SecretRef.parse("secret://local/exports#key"))


KEY_ID, SECRET_KEY = "AKIDEXAMPLE", "wJalrXUtnFEMI-K7MDENG-bPxRfiCY"
RESOURCES: dict[str, Any] = {
    "cases": {
        "prefix": "cases",
        "suffix": ".json",
        "format": "json",
        "key": "case_id",
        "fields": CASE_FIELDS,
        "fetch": {},
        "lookup": {"object": "cases/{key}.json"},
    },
    "lines": {"prefix": "lines", "format": "jsonl", "fields": CASE_FIELDS, "fetch": {}},
    "outcomes": {
        "format": "json",
        "fields": OUTCOME_FIELDS,
        "push": {"object": "outcomes/{case_id}/{idempotency_key}.json", "idempotency": "key"},
    },
    "latest": {
        "format": "json",
        "fields": OUTCOME_FIELDS,
        "push": {"object": "latest/{case_id}.json", "idempotency": "natural"},
    },
}


def planted() -> dict[str, bytes]:
    """The five cases, one object each, and all in two objects of lines; and what is no case."""
    lines = [json.dumps({**case, "more": 1}).encode() + b"\n" for case in CASES]
    return {
        **{f"cases/{case['case_id']}.json": json.dumps({**case, "more": 1}).encode() for case in CASES},
        "cases/readme.txt": b"not a case",
        "lines/1.jsonl": b"".join(lines[:2]),
        "lines/2.jsonl": b"".join(lines[2:]),
    }


class FolderWorld(World):
    path: Path

    async def received(self) -> list[tuple[str, str]]:
        found = sorted((self.path / "outcomes").glob("*/*.json"), key=lambda p: p.stat().st_mtime_ns)
        return [(json.loads(p.read_bytes())["case_id"], p.stem) for p in found]


class BucketWorld(World):
    bucket: Bucket

    def target(self, resource: str, verb: str, timeout_s: float = 5.0, **changes: Any) -> Target:
        from dataclasses import replace

        found = super().target(resource, verb, timeout_s, **changes)
        return replace(found, credentials=Credentials({"/auth/s3/secret_access_key": told_secret(SECRET_KEY)}))

    async def received(self) -> list[tuple[str, str]]:
        written = [(path, data) for path, data in self.bucket.received if path.startswith("outcomes/")]
        return [(json.loads(data)["case_id"], Path(path).stem) for path, data in written]


def make_folder(root: Path, adapters: Adapters) -> FolderWorld:
    folder = root / "exports"
    for path, data in planted().items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    body = document("objects", RESOURCES, store={"url": "folder://exports"})
    world = FolderWorld(adapter=adapters.get("objects"), body=checked(adapters, body))
    world.path = folder
    return world


def make_bucket(adapters: Adapters, bucket: Bucket, url: str) -> BucketWorld:
    bucket.key_id = KEY_ID
    bucket.objects |= planted()
    auth = {"s3": {"access_key_id": KEY_ID, "secret_access_key": "secret://local/exports#key"}}
    body = document(
        "objects",
        RESOURCES,
        store={"url": f"s3://{bucket.name}", "region": "eu-central-1", "endpoint": url},
        auth=auth,
        egress={"private": ["127.0.0.1"]},
    )
    world = BucketWorld(adapter=adapters.get("objects"), body=checked(adapters, body))
    world.bucket = bucket
    return world
