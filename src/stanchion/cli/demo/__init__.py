"""The case-triage example on this machine, from nothing: what `stanchion demo` and `stanchion demo crash` do."""
