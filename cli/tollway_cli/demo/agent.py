"""The demo's agents: ordinary programs on an official SDK that know nothing of Tollway.

Each is started with the variables that `tollway run` sets (`python -m tollway_cli.demo.agent SDK MODEL CALLERS`), calls
its model until it is told that retrying is useless, and writes one line of JSON for each thing that happened to it.
"""

import json
import sys
import threading
import time

from tollway_cli.demo.asking import QUESTIONS, Caller, Refused


def work(caller: Caller, turn: int) -> None:
    """Take turns between plain and streaming calls, until it is of no use."""
    while True:
        question = QUESTIONS[turn % len(QUESTIONS)]
        try:
            report(call=caller.stream(question) if turn % 2 else caller.ask(question))
        except Refused as refused:
            report(refused=refused.said)
            if refused.is_final:
                return
            time.sleep(0.2)
        turn += 1


def report(**event: object) -> None:
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()


def main() -> None:
    caller = _caller(sys.argv[1], sys.argv[2])
    threads = [threading.Thread(target=work, args=(caller, number)) for number in range(int(sys.argv[3]))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _caller(sdk: str, model: str) -> Caller:
    """Imports the one SDK only: the other may not be installed where an agent runs."""
    if sdk == "anthropic":
        from tollway_cli.demo.anthropic_agent import AnthropicCaller

        return AnthropicCaller(model)
    from tollway_cli.demo.openai_agent import OpenAICaller

    return OpenAICaller(model)


if __name__ == "__main__":
    main()
