"""A simulated PostgreSQL for the engine's SQL. See `server.SimServer`, `database.SimDatabase`, `link.Link`."""

from tests.simulation.store.database import SimDatabase
from tests.simulation.store.link import CalmLink, Commit, Link
from tests.simulation.store.registry import MODELS, UnmodelledStatement, replaced
from tests.simulation.store.server import SimServer

__all__ = ["MODELS", "CalmLink", "Commit", "Link", "SimDatabase", "SimServer", "UnmodelledStatement", "replaced"]
