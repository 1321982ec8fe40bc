"""What can come of a request to the API server, one class for each thing that a caller does about it."""


class ClusterError(Exception):
    """A request that did not do what it was made for."""


class Unavailable(ClusterError):  # noqa: N818 - named for what happened
    """Nothing is known of what came of it: the server was silent, broken or overloaded. To be tried again, not before
    `retry_after` seconds have passed."""

    def __init__(self, message: str, retry_after: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Conflict(ClusterError):  # noqa: N818 - named for what happened
    """Somebody else changed, made or removed the object: look again, then decide again."""


class NotFound(ClusterError):  # noqa: N818 - named for what happened
    """There is no such object, or no such kind."""


class Refused(ClusterError):  # noqa: N818 - named for what happened
    """The server does not do it, however often it is asked: `status` is its code, the message its own."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"the API server refused it ({status}): {message}")
        self.status = status


class NotLeading(ClusterError):  # noqa: N818 - named for what happened
    """The Lease is not held, so nothing may be written."""
