"""The adapters that ship and those that a team brings.

`registry.Adapters`, which a process builds once, is not imported here: it brings the code of every adapter and an HTTP
client, which only processes that read documents or perform calls need.
"""

from stanchion.tools.adapters.call import Call, any_target, offset_of
from stanchion.tools.adapters.inferred import cells_of, fields_of, key_of, resource_name
from stanchion.tools.adapters.named import NamedAdapters
from stanchion.tools.adapters.own import GROUP, NO_OWN, Means, OwnAdapters, adapter_faults, find_own
from stanchion.tools.adapters.pages import PURPOSE as PAGE_PURPOSE
from stanchion.tools.adapters.pages import Pages
from stanchion.tools.adapters.paths import inside, path_complaint
from stanchion.tools.adapters.plain import PlainAdapter
from stanchion.tools.records import read_record

__all__ = [
    "GROUP",
    "NO_OWN",
    "PAGE_PURPOSE",
    "Call",
    "Means",
    "NamedAdapters",
    "OwnAdapters",
    "Pages",
    "PlainAdapter",
    "adapter_faults",
    "any_target",
    "cells_of",
    "fields_of",
    "find_own",
    "inside",
    "key_of",
    "offset_of",
    "path_complaint",
    "read_record",
    "resource_name",
]
