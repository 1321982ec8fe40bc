"""May this call go, and what may it cost at most?

Here belongs everything between "a request is there" and "reserve these amounts": the compiled rules (`rulebook`), the
frozen input (`question`), the ordered list of checks (`checks`, which is the specification), what an admitted call asks
of the ledger (`admission`), and the sentences of refusals (`reasons`, `shortfall`).
Here does not belong the ledger's arithmetic, a provider's wire format, or anything that waits.
"""
