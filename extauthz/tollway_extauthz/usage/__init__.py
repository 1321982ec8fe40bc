"""The report of this gateway for the operator, over mTLS on the pod network.

Here belongs what is told (`report`), who this gateway is and whom it believes (`identity`), and the port (`port`).
What people ask, on loopback or a Unix socket, is `tollway_extauthz.admin`; metrics are `tollway_extauthz.scraping`.
"""
