"""The deterministic simulation: the engine's own code over a simulated PostgreSQL, a simulated loop and a fake world.

Nothing here is importable from `src`. `store` is the simulated PostgreSQL, `contract` the suite that holds it to the
real one.
"""
