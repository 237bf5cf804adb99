"""The broker: the one process in which the outside world is touched (I5, I8-I11)."""
