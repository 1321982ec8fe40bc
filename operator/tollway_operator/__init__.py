"""The control plane: certificates, Envoy configuration, and the operator that keeps them right in a cluster.

`authority` issues, `signing` judges who gets what, `envoy` renders; these serve one machine as well as a cluster.
`cluster`, `watching`, `reconciling` and `asking` are the operator, put together in `control`; `injecting` is the
injector, a program of its own on the same watches. The data plane does not belong here, and nothing of it is imported.
"""
