"""The contract of the simulated store: the same calls on it and on real PostgreSQL give the same answers and rows."""
