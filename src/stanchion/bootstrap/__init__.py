"""The only place that chooses implementations: settings → Env, verbs, kinds, resolver, routers, duties.

One module per process type, and none of them is imported here: a process starts as soon as what it needs is imported, so only
the web process has routes, and a worker has no adapters.

    env        settings → Env, for every process
    resolving  the verbs, and who resolves pins, for every process that compiles a Blueprint
    parts      these, the artifact kinds and the adapters, for every process that reads documents or calls by itself
    admin worker broker duties web
               what each process type is made of
"""
