"""What leaves a deployment: answers of the API, the pages of its errors, and its exports."""

from __future__ import annotations

import base64
import binascii
import http.client
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, urlsplit

from stanchion.cli.client import Api
from tests.processes.instance import clean_environment

_LISTS = ("audit", "effect", "dlq", "connector", "secret", "run")
_WRAPPED = re.compile(rb"[A-Za-z0-9+/_-]{64,}={0,2}")


def error_pages(api: Api, token: str, decoy: str, named: str, carried: str) -> dict[str, bytes]:
    """Requests that fail, as a program and as a browser makes them: status, headers and body of each answer.

    `carried` is what a defect of the web process says, `decoy` what a problem says; those of `faulty` are the broker's.
    """
    wrong = quote(decoy, safe="")
    asked = [
        ("GET", "/nowhere", b""), ("GET", f"/{wrong}", b""), ("GET", "/api/nowhere", b""), ("DELETE", "/api/runs", b""),
        ("GET", f"/api/connectors/{wrong}", b""), ("GET", f"/api/runs/{wrong}", b""), ("GET", f"/api/connectors/{named}", b""),
        ("GET", f"/api/runs?limit={wrong}", b""), ("POST", "/api/artifacts/apply", b"{no json"),
        ("POST", "/api/artifacts/apply", json.dumps({"documents": decoy}).encode()),
        ("POST", "/api/connectors/hostile/test", b"{}"), ("POST", "/api/connectors/hostile/discover", b"{}"),
        ("POST", "/api/connectors/faulty/test", b"{}"), ("POST", "/api/connectors/faulty/discover", b"{}"),
        ("POST", "/api/planted/defect", json.dumps({"said": carried}).encode()),
        ("POST", "/api/planted/problem", json.dumps({"said": decoy}).encode()),
        ("POST", "/sign-in", f"token={wrong}".encode()),
    ]  # fmt: skip
    found: dict[str, bytes] = {}
    for accept in ("application/json", "text/html"):
        for with_token in (True, False):
            for method, target, body in asked:
                headers = {"Accept": accept, "Content-Type": "application/json"}
                headers |= {"Authorization": f"Bearer {token}"} if with_token else {}
                status, said = _raw(api.url, method, target, body, headers)
                assert status < 200 or status >= 300 or target.endswith(("test", "discover")), (method, target, status)
                found[f"{status} {accept} {with_token} {method} {target} {len(found)}"] = said
    return found


def _raw(url: str, method: str, target: str, body: bytes, headers: dict[str, str]) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
    try:
        connection.request(method, target, body or None, headers)
        answer = connection.getresponse()
        said = "".join(f"{name}: {value}\n" for name, value in answer.getheaders())
        return answer.status, said.encode() + answer.read()
    finally:
        connection.close()


def exports(data: Path, folder: Path, documents: Path) -> dict[str, bytes]:
    """What the command line writes: the signed bundle of all that is live, a plan, and its lists as JSON."""
    bundle, plan = folder / "all.bundle", folder / "plan.json"
    found = {
        "release export": _said(data, "release", "export", "--all", "--out", str(bundle), "--reason", "A test."),
        "apply --dry-run": _said(data, "apply", "-f", str(documents), "--dry-run", "--out", str(plan), "--yes"),
        **{f"{noun} list": _said(data, noun, "list", "-o", "json") for noun in _LISTS},
    }
    found["bundle"], found["plan"] = bundle.read_bytes(), plan.read_bytes()
    found["bundle, unwrapped"] = b"\n".join(_unwrapped(found["bundle"]))
    return found


def _said(data: Path, *words: str) -> bytes:
    done = subprocess.run(
        [sys.executable, "-m", "stanchion", *words],
        env=clean_environment(STANCHION_DATA=str(data)), capture_output=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, (words, done.stderr)
    return done.stdout + done.stderr


def _unwrapped(bundle: bytes) -> Iterator[bytes]:
    """What is in it as base64."""
    for wrapped in _WRAPPED.findall(bundle):
        try:
            yield base64.b64decode(wrapped.replace(b"-", b"+").replace(b"_", b"/") + b"==")
        except binascii.Error:
            continue
