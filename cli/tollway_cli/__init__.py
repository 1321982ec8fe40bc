"""The command `tollway`: the standalone instance on one machine, the views on a running one, and the demo.

Here belongs what a person types and sees, and the composition of operator and extauthz into one supervised instance.
What decides, counts, signs or renders Envoy configuration does not: it is imported from `tollway` and
`tollway_operator`, or runs as a process of its own (`tollway_extauthz`, Envoy).
"""
