"""Asking the gateway's replicas what they serve and what was counted, as the operator, over mTLS.

`svid` is who the operator is towards them, `question` asks one of them, `replicas` all of them, and makes one report of
their answers. What status says of it is planned in `tollway_operator.reconciling`.
"""
