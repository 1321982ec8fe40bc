"""The signer `tollway.dev/agent`: which PodCertificateRequest gets a certificate, and for which identity.

Here belongs what can be said without talking to anybody: `objects` reads what the API server sends, `request` the CSR
in it, `evaluator` judges the request against what the server knows of the pod, `status` writes the answer down.
Watching requests, reading pods and writing answers belongs to the reconciler; making certificates to
`tollway_operator.authority`; which agent a pod is to `tollway.resources.selection`, which the injector asks too.
"""
