"""Live configs: what their values are in this environment, where they come from, which versions runs still have.

A config is published, released, rolled out and rolled back like every artifact. What is here reads them, and changes one
value of the live document in one action.
"""

from stanchion.releases.configs.service import list_configs, set_values, show_config
from stanchion.releases.configs.types import ConfigRow, Held, Shown

__all__ = ["ConfigRow", "Held", "Shown", "list_configs", "set_values", "show_config"]
