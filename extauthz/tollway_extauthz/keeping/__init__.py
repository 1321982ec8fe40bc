"""The gateway's pod follows the API server (`python -m tollway_extauthz.keeping`): what changes there is in force here
within a second, by files that Envoy and extauthz read.

    API server ──list, watch──▶ known ──▶ rules.json, issuers.pem ──▶ extauthz
                                      ──▶ Envoy's files, the SVID ──▶ Envoy

`following` lists and watches (`api_server` talks, `pace` says when to try again); `known` is what is known and
`derived` what follows from it, both pure; `publishing` brings rules into force, and `programming` has Envoy run files,
so that a provider is open to decisions only while Envoy runs it. `envoy_files` and `probes` serve one machine as well.

Nothing here decides about calls, issues or renders.
"""
