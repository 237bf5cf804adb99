"""Planted defects."""
from __future__ import annotations
MUTANTS: dict = {}
