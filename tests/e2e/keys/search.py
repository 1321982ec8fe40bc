"""Looks for byte strings in every file this container can read, and in what its processes were started with.

search.py STRING...
"""

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

wanted = [argument.encode() for argument in sys.argv[1:]]


def files() -> Iterator[Path]:
    for where, folders, names in os.walk("/"):
        if where == "/":
            folders[:] = [name for name in folders if name not in {"proc", "sys", "dev"}]
        yield from (path for path in (Path(where) / name for name in names) if path.is_file() and not path.is_symlink())


def starts() -> Iterator[Path]:
    # This process was started with what it looks for.
    others = (folder for folder in Path("/proc").glob("[0-9]*") if int(folder.name) != os.getpid())
    yield from (folder / name for folder in others for name in ("environ", "cmdline"))


def holds(path: Path) -> bool:
    try:
        content = path.read_bytes()
    except OSError:
        return False
    return any(each in content for each in wanted)


places = [*files(), *starts()]
holding = [str(path) for path in places if holds(path)]
sys.stdout.write(json.dumps({"files": len(places), "holding": holding}) + "\n")
