"""Mirrors the package."""  # noqa: A005
