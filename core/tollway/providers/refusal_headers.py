"""Headers that every family's refusal carries: what was decided, which call it was, and whether waiting helps.

The official SDKs of OpenAI and Anthropic alike obey `x-should-retry`, then `retry-after-ms`, then `retry-after`.
"""

from tollway.providers.port import Refusal


def refusal_headers(refusal: Refusal, *, retriable: bool) -> tuple[tuple[str, str], ...]:
    """`retriable`: what was refused may pass when it is sent again as it is."""
    headers = [("content-type", "application/json"), ("x-tollway-reason", refusal.reason)]
    if refusal.call_id:
        headers.append(("x-tollway-call", refusal.call_id))
    if not retriable:
        headers.append(("x-should-retry", "false"))
    elif refusal.retry_after_ms is not None:
        headers += _retry_after(refusal.retry_after_ms)
    return tuple(headers)


def _retry_after(milliseconds: int) -> list[tuple[str, str]]:
    """Never zero, which SDKs take for no advice; whole seconds are rounded up, or the retry would come too early."""
    waiting = max(milliseconds, 1)
    return [("retry-after", str(-(-waiting // 1000))), ("retry-after-ms", str(waiting))]
