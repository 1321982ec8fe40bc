"""The data plane: Envoy's ext_authz server, the ledger's stores and the settlement of ended calls.

Here belongs what runs beside the gateway's Envoy on the path of calls: translate, ask the core, reserve, translate back
(`authorizer`), wait briefly for what is only held (`waiting_room`), learn of ends (`access_log_file`, `settler`),
follow the rules (`rules`), and show what is (`admin`, `metrics`). `__main__` wires it together and is the only place
that reads a clock. Here belongs neither an issued certificate nor a line of Envoy configuration.
"""
