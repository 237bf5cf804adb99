"""Stanchion: a governed runtime for AI applications.

The package imports nothing at its top, so that `stanchion --version` and shell completion stay fast.
"""

__version__ = "0.1.0"
