"""What model APIs speak: one module or package per provider family, all behind the protocol in `port`.

Here belongs knowledge of wire formats: operations, request fields and what they can cost, caps, usage, refusals.
Here does not belong what a call may cost or whether it may pass (`tollway.pricing`, `tollway.deciding`), nor how bytes
travel. `registry` finds a family by the `type` of an AIProvider; `json_scan` is the one strict reading of JSON bodies,
`reading` and `refusal_headers` are what families share.
"""
