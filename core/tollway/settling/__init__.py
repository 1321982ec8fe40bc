"""What did a call that has ended consume, and how do we know?

Here belongs the judgement of an access-log entry against the hold it ends. Here does not belong reading the entries
(the data plane does) or writing the amounts (the ledger does).
"""
