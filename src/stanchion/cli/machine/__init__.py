"""Commands that touch this machine: its settings, its database, its processes."""
