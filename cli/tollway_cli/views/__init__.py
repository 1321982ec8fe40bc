"""What a person asks a running instance, or the resources on disk, and how the answer is shown.

Here belong the client of the admin socket, the shape of its answers, tables, and the JSON that scripts rely on.
Nothing here decides or counts: the answers come from extauthz, or from pure functions of the core.
"""
