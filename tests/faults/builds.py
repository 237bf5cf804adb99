"""A build of the next version: this source with the engine's version raised and one more verb, `stamp`."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import stanchion

STAMP = '''
from stanchion import runs


class StampVerb:
    """STAMP: a verb that the version before does not know."""

    verb = "stamp"
    effect = "none"
    suspends = False
    config_schema = {
        "type": "object",
        "required": ["text"],
        "additionalProperties": False,
        "properties": {"text": {"x-template": True}},
    }

    def check(self, config, lookup):
        return ()

    def output_schema(self, config, lookup, types):
        return {}


class StampHandler:
    """STAMP."""

    verb = "stamp"

    async def execute(self, env, call):
        return runs.StepResult(output={"stamped": call.config["text"], "engine_v": runs.ENGINE_V})
'''


def _edit(path: Path, *changes: tuple[str, str]) -> None:
    text = path.read_text()
    for pattern, into in changes:
        text, count = re.subn(pattern, into, text, count=1, flags=re.MULTILINE)
        assert count == 1, f"{path} has no {pattern!r}"
    path.write_text(text)


def next_build(folder: Path) -> Path:
    """Copy the package into `folder` and make it the next version; the folder for PYTHONPATH."""
    source = Path(stanchion.__file__).parent
    made = folder / "stanchion"
    shutil.copytree(source, made, ignore=shutil.ignore_patterns("__pycache__"))
    _edit(made / "runs" / "types.py", (r"^ENGINE_V = \d+$", f"ENGINE_V = {stanchion_v() + 1}"))
    (made / "bootstrap" / "stamp.py").write_text(STAMP)
    _edit(
        made / "bootstrap" / "resolving.py",
        (
            r"^from stanchion\.context import Env$",
            "from stanchion.bootstrap.stamp import StampVerb\nfrom stanchion.context import Env",
        ),
        (r"\(TRANSFORM, LOGIC_GATE,", "(StampVerb(), TRANSFORM, LOGIC_GATE,"),
    )
    _edit(
        made / "bootstrap" / "worker.py",
        (
            r"^from stanchion\.context import Env$",
            "from stanchion.bootstrap.stamp import StampHandler\nfrom stanchion.context import Env",
        ),
        (r"^        runs\.TransformHandler\(\),$", "        runs.TransformHandler(),\n        StampHandler(),"),
    )
    return folder


def stanchion_v() -> int:
    from stanchion.runs import ENGINE_V

    return ENGINE_V
