"""What ends a command early: each carries the exit code and a sentence that says what to do next.

0 fine, 1 the answer is no, 2 wrong usage, 3 something is broken. Errors go to stderr, answers to stdout.
"""


class CommandFailed(Exception):  # noqa: N818 - named for what happened
    """`str()` is the sentence for the person."""

    exit_code = 3


class AnswerIsNo(CommandFailed):
    exit_code = 1


class WrongUsage(CommandFailed):
    exit_code = 2


class Broken(CommandFailed):
    exit_code = 3
