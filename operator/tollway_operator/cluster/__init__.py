"""The API server as the operator talks to it: kinds and their paths, one client that obeys, the Lease.

Belongs here: everything that knows HTTP and the API's manners (conflicts, back-off, field managers). Does not belong
here: what any object means.
"""
