"""What makes a run worthless. There are no figures then, only the sentence."""


class BenchFailed(Exception):  # noqa: N818 - named for what happened
    """`str()` says what happened, to which road, and what was said about it."""
