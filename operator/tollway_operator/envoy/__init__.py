"""Envoy's configuration: resources and settings in, typed messages and proto3 JSON out.

Here belongs everything that knows Envoy's API. Here does not belong who writes the files, starts the processes or holds
the keys: every function is pure, apart from `binary`, which looks up the installed program.

`gateway` and `sidecar` are the two programs of configuration; the other modules are their parts, one for each concern.
Listeners are static; routes, clusters and secrets are files that change under them, so that a change of a provider
drains no connection.
"""
