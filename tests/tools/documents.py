"""Documents of connectors, as publishing looks at them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stanchion.base import SystemClock
from stanchion.blueprints import ConfigIssue, Document, Parsed
from stanchion.tools.adapters.registry import Adapters
from stanchion.tools.connectors.kind import ConnectorKind


def parsed(written: str | Mapping[str, Any], path: str = "connector.yaml", adapters: Adapters | None = None) -> Parsed:
    """What publishing makes of a document, given as its text or its body. Nothing that it names need be there."""
    source = written if isinstance(written, str) else json.dumps(written)
    kind = ConnectorKind(adapters or Adapters(Path("nowhere"), SystemClock()))
    return kind.parse(Document(path=path, source=source), lambda *_: None)


def fault_at(source: str, text: str, wrong: str, code: str, place: str) -> tuple[ConfigIssue, Sequence[ConfigIssue]]:
    """The fault of that code that is said in a line with `place` (its first line) once `wrong` stands for `text`, and all."""
    assert text in source
    changed = source.replace(text, wrong, 1)
    issues, lines = parsed(changed).issues, changed.splitlines()
    found = [
        issue for issue in issues if issue.code == code and place.split("\n", maxsplit=1)[0] in lines[issue.line - 1]
    ]
    assert found, issues
    return found[0], issues
