"""The box in which commands of connectors run: bubblewrap, a seccomp filter, and a refusal where neither can be had."""

from stanchion.tools.sandbox.box import INSIDE, Box, Folder, Sandbox, Started

__all__ = ["INSIDE", "Box", "Folder", "Sandbox", "Started"]
