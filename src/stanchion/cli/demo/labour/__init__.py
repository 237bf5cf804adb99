"""The labour-costs example on this machine, from nothing: what `stanchion demo labour` does.

`systems` are stand-ins of the customer's field system and ERP: small HTTP servers with paging, faults and a log of their
own. `story` tells the example over them.
"""
