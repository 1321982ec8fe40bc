"""Who calls: SPIFFE IDs, and when certificates and certificate authorities are renewed.

Here belongs what can be said of an identity without cryptography, files or a clock: `spiffe_id` (which names there are
and which are ours), `rotation` (pure arithmetic on validity periods) and `root_change` (how a trust domain gets another
root: a table of states).
Certificates are issued by `tollway_operator.authority` and checked, at every call, by `tollway_extauthz.peer`.
"""
