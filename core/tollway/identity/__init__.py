"""Who calls: SPIFFE IDs, and when certificates and certificate authorities are renewed.

Here belongs what can be said of an identity without cryptography, files or a clock: `spiffe_id` (which names there are
and which are ours) and `rotation` (pure arithmetic on validity periods).
Certificates are issued by `tollway_operator.authority` and checked, at every call, by `tollway_extauthz.peer`.
"""
