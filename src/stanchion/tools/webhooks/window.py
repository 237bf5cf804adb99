"""Which messages were seen lately, so that a message that is sent again is known. In memory, bounded, no clock of its own."""

from __future__ import annotations

from collections import OrderedDict


class ReplayWindow:
    """Ids seen within the last `window_s` seconds, at most `most` of them.

    A message that `verify` lets through is at most `tolerance_s` old or ahead, so a window of twice that holds every
    message that could be believed again. One process's memory: what must hold over several belongs into the database.
    """

    def __init__(self, window_s: float, most: int = 100_000) -> None:
        self._window_s = window_s
        self._most = most
        self._seen: OrderedDict[str, float] = OrderedDict()

    def first(self, message_id: str, now_s: float) -> bool:
        """Whether this id was not seen within the window; from now on it was."""
        while self._seen and next(iter(self._seen.values())) < now_s - self._window_s:
            self._seen.popitem(last=False)
        if message_id in self._seen:
            return False
        self._seen[message_id] = now_s
        if len(self._seen) > self._most:
            self._seen.popitem(last=False)
        return True

    def __len__(self) -> int:
        return len(self._seen)
