"""What a team tests its own adapters with: the suite that every adapter of Stanchion passes, as one class.

    class TestShelf(AdapterSuite):
        @asynccontextmanager
        async def trial(self, folder): yield Trial(adapter=…, document=…, reads="cases", records=[…])

pytest collects the tests of the class. Each runs in an event loop of its own, on a trial of its own. What a trial does not
offer (nothing is written, no faults can be made) is skipped, and says so.
"""

from stanchion.testing.adapters import AdapterSuite
from stanchion.testing.trial import Trial

__all__ = ["AdapterSuite", "Trial"]
