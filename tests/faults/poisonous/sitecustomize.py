"""Put on PYTHONPATH of a worker under test: TRANSFORM steps whose value names a disaster bring it about.

Loaded by every Python process of the worker, so by its children on probation too.
"""

import asyncio
import os

from stanchion.runs import TransformHandler

_execute = TransformHandler.execute
_hoard = []


async def execute(self, env, call):
    value = call.config.get("value")
    if value == "exit":
        os._exit(1)
    if value == "hoard":
        while True:  # until the test's out-of-memory killer comes
            _hoard.append(b"x" * (16 << 20))
            await asyncio.sleep(0.005)
    if value == "slow":
        await asyncio.sleep(0.2)
    return await _execute(self, env, call)


TransformHandler.execute = execute
