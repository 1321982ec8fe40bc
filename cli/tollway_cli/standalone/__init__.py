"""`tollway up`: the same resources, Envoys and identities as in a cluster, supervised on one machine.

Here belong the state directory, the processes and the loop that brings resources into force (`up`). Planning is pure
(`plan`, `lifecycle`); doing is at the edge. What a running instance is asked from outside is in `tollway_cli.views`.
"""
