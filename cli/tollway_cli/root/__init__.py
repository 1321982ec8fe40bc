"""`tollway root`: how a change of the root stands, and the commands of a person, on this machine or in a cluster.

What follows from them is not here: `tollway up` and the operator do it.
"""
