"""The few Envoy messages that the data plane reads and writes, with Envoy's field numbers and nothing else.

`envoy_subset.proto` is the source; `make generate-wire` compiles it and a test holds every field number against
Envoy's own descriptors. Slim, because parsing a CheckRequest with a full set of Envoy types costs more than the
whole decision; own package name, so that it can live in one process with the real ones.
"""
