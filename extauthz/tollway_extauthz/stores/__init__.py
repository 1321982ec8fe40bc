"""Stores: where a ledger's holds, counters and journal are kept.

Here belongs how each store reads, writes and stays whole: tables, transactions, files. Here does not belong what any of
it means: every store runs `tollway.ledger.book`, and passes the one suite in `tests/ledger`.

`turns` is who may write when, alone or in a batch; `transacting` what every store does with its turn. `memory` is for
tests, `sqlite` the embedded default for one gateway replica.
"""
