"""PostgreSQL 18 with pgvector on this machine, in one folder, without an installation (DESIGN §4, "Embedded").

    with EmbeddedPostgres(Path("data")) as server:
        psycopg.connect(server.urls.app)

`server.py` is the story; read it first. States of a folder: empty → cluster in the making (`setup`) → cluster, server running or not. What always holds:

* One owner at a time, by a lock the kernel releases when the owner dies.
* A server left by a dead owner is adopted after it has proved, over its socket, to be ours; a stale pid file,
  a reused pid, a killed server's remaining processes and its socket are recognised and cleared.
* Nothing listens on TCP. Every connection, the superuser's too, proves a 256-bit password (SCRAM).
* Nothing outside the data folder is created or changed, whoever starts it; as root, the server is unprivileged.
"""

from stanchion.db.embedded.binaries import find_binaries
from stanchion.db.embedded.credentials import ClusterUrls
from stanchion.db.embedded.guests import guest_database
from stanchion.db.embedded.server import EmbeddedPostgres

__all__ = ["ClusterUrls", "EmbeddedPostgres", "find_binaries", "guest_database"]
