"""`tollway doctor`: what is wrong with an installation, and the command that mends each thing.

`gathering` looks (files, sockets, processes, endpoints) and makes one frozen `snapshot`; `checks` is the ordered list
of named checks, pure, that say what is wrong with it; `screen` shows what they said. What is not looked at from
outside, but known to a running instance, comes from `tollway_cli.views` and the supervisor's own report. All of that is
for one machine; `in_cluster` is made alike, for a cluster.
"""
