"""`tollway doctor` in a cluster: what is wrong with an installation there, and the command that mends each thing.

`gathering` asks the API server, and the gateway through it, and makes one frozen `snapshot`; `reading` is how objects
become facts; `checks` is the ordered list of named checks, pure. Nothing here reads a Secret or changes anything.
"""
