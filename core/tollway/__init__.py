"""The domain of Tollway: values in, values out.

Here belongs what Tollway decides: who calls, what a call may cost at most, which limits cover it, what is left.
Here does not belong anything that knows a clock, a socket, a file or a framework; those are the shells
(`tollway_operator`, `tollway_extauthz`, `tollway_cli`), which gather, ask the core, and act.

From the bottom up: `identity`, `pricing` and `ledger` are libraries that know nothing of each other;
`resources` (what users write) and `providers` (what model APIs speak) stand on them; `deciding` and `settling`
put them together at the two ends of a call.
"""

__version__ = "0.1.0"
