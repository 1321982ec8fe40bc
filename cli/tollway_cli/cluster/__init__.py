"""An instance in a cluster, as the commands see it: through the kubeconfig, with the rights of whoever asks.

`connection` opens the way to the API server, `forwarding` leads one HTTP exchange through it to a loopback port of a
pod, `gateway` finds the pod, `instance` puts that together for `tollway_cli.views`. What is shown belongs to the views;
what may be wrong with an installation to `tollway_cli.doctor.in_cluster`.
"""
