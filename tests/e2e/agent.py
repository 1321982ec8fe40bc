"""An agent on an official SDK, as anybody writes one: it knows no Tollway.

Says a JSON document for every call it makes.

agent.py SDK [--calls N] [--seconds S] [--until-refused] [--stream] [--model M] [--base-url URL] [--key KEY]
"""

import argparse
import json
import sys
import time

parser = argparse.ArgumentParser()
parser.add_argument("sdk", choices=("openai", "anthropic"))
parser.add_argument("--calls", type=int, default=1)
parser.add_argument("--seconds", type=float, default=0)
parser.add_argument("--until-refused", action="store_true")
parser.add_argument("--stream", action="store_true")
parser.add_argument("--model")
parser.add_argument("--base-url")
parser.add_argument("--key")
parser.add_argument("--pause", type=float, default=0)
chosen = parser.parse_args()

given = {name: value for name, value in (("base_url", chosen.base_url), ("api_key", chosen.key)) if value}
asked = [{"role": "user", "content": "How many lights?"}]
if chosen.sdk == "openai":
    import openai as sdk

    client = sdk.OpenAI(max_retries=0, **given)

    def ask():
        made = client.chat.completions.create(
            model=chosen.model or "gpt-4o", messages=asked, max_completion_tokens=100, stream=chosen.stream
        )
        if chosen.stream:
            return {"finish": [each.finish_reason for chunk in made for each in chunk.choices][-1]}
        return {"input": made.usage.prompt_tokens, "output": made.usage.completion_tokens}
else:
    import anthropic as sdk

    client = sdk.Anthropic(max_retries=0, **given)

    def ask():
        made = client.messages.create(
            model=chosen.model or "claude-sonnet-5", messages=asked, max_tokens=100, stream=chosen.stream
        )
        if chosen.stream:
            return {"finish": [event.type for event in made][-1]}
        return {"input": made.usage.input_tokens, "output": made.usage.output_tokens}


def say(**what):
    sys.stdout.write(json.dumps({"at": time.time(), **what}) + "\n")
    sys.stdout.flush()


made, end = 0, time.monotonic() + chosen.seconds
while made < chosen.calls or time.monotonic() < end:
    made += 1
    begun = time.perf_counter()
    try:
        say(ok=True, **ask(), ms=(time.perf_counter() - begun) * 1000)
    except sdk.APIStatusError as error:
        told = error.response.headers
        say(
            ok=False,
            status=error.status_code,
            error=type(error).__name__,
            message=error.message,
            reason=told.get("x-tollway-reason"),
            call=told.get("x-tollway-call"),
            retry=told.get("x-should-retry"),
        )
        if chosen.until_refused:
            break
    except sdk.APIConnectionError as error:
        say(ok=False, status=0, error=type(error).__name__, message=str(error.__cause__), reason=None)
    time.sleep(chosen.pause)
