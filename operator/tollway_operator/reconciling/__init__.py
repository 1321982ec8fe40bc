"""What follows from what is known: from a snapshot of the cluster to the writes that are missing.

`plan` and the modules that it calls are pure: snapshot and time in, actions out. `acting` does actions, `loop` decides
when what is looked at again, `changes` what a change makes worth looking at. Watching and HTTP belong elsewhere.
"""
