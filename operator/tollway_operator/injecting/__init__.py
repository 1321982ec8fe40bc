"""The injector: what every new pod of an enforced namespace gets, and why some pods are refused.

`settings`, `pod`, `rules`, `environment`, `sidecar` and `patching` are pure: a pod, the facts of its namespace and the
settings in, a patch or a refusal out. `review`, `view` and `server` are the webhook around them. It has no right to any
Secret and writes nothing, so what needs either does not belong here.
"""
