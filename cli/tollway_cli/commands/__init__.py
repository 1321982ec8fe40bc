"""The command's names, options and help, by what somebody wants: running, looking, mending.

A command turns what was typed into values, and imports what it needs when it runs: the help, and looking at a running
instance, start fast. What it then does is elsewhere in `tollway_cli`. The environment and the clock come in a
`Surroundings`, as click's object.
"""
