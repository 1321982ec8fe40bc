"""Asks each URL given; exit code 1 and a sentence where one does not say that it is ready."""

import sys
import urllib.error
import urllib.request


def complaint(url: str) -> str:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 - the chart's own addresses
            answer.read()
    except urllib.error.HTTPError as refusal:
        return f"{url} is not ready: {refusal.read().decode(errors='replace').strip()}"
    except OSError as problem:
        return f"{url} cannot be asked: {problem}. No pod of it is ready: look at `kubectl get pods`"
    return ""


complaints = [said for said in map(complaint, sys.argv[1:]) if said]
print("\n".join(complaints) or "everything is ready")  # noqa: T201
sys.exit(bool(complaints))
