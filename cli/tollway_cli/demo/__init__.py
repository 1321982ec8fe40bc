"""The demonstration: what lets somebody see Tollway work in a minute, without a key and without a network.

Here belongs the demo provider (`provider`, which speaks real wire formats; `settings`, `request`, `generation`, `wire`
and one `…_wire` for each API are its parts) and what drives it. Tests and benchmarks run the same provider. Nothing
that a real installation needs belongs here.
"""
