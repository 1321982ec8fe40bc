"""What large bodies took goes back to the kernel, though small things that stay were made between them."""

import subprocess
import sys

MIB = 1 << 20
PROGRAM = """
import re
from pathlib import Path
from tollway_extauthz.heap import give_back_memory

def resident():
    return int(re.search(r"VmRSS:\\s*(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024

give_back_memory()
before = resident()
bytearray(b"x" * (2 << 20))  # what the C library would take for the size from which on to give back
small, large = [], []
for _ in range(40):
    large.append(bytearray(b"x" * (1 << 20)))
    small.append(b"y" * (1000 + len(small)))
large.clear()
print(resident() - before)
"""


def test_little_stays_of_many_large_blocks_with_small_ones_between_them() -> None:
    said = subprocess.run((sys.executable, "-c", PROGRAM), capture_output=True, text=True, check=True)
    assert int(said.stdout) < 8 * MIB
