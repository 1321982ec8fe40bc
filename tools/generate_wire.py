"""Compile `envoy_subset.proto` into Python and its type stub. `--check`: only compare with what is committed."""

import sys
import tempfile
from pathlib import Path

from google.protobuf.internal import api_implementation
from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent / "extauthz"
SOURCE = Path("tollway_extauthz/wire/envoy_subset.proto")
PRODUCTS = (SOURCE.with_name("envoy_subset_pb2.py"), SOURCE.with_name("envoy_subset_pb2.pyi"))


def compile_into(folder: Path) -> None:
    include = Path(protoc.__file__).parent / "_proto"
    arguments = [f"-I{ROOT}", f"-I{include}", f"--python_out={folder}", f"--pyi_out={folder}", str(ROOT / SOURCE)]
    if protoc.main(["protoc", *arguments]) != 0:
        sys.exit("generate_wire: protoc failed, see above")


def main() -> int:
    assert api_implementation.Type() == "upb", "protobuf's C implementation is missing: the call path needs it"
    if "--check" not in sys.argv[1:]:
        compile_into(ROOT)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        compile_into(Path(folder))
        stale = [p for p in PRODUCTS if (Path(folder) / p).read_bytes() != (ROOT / p).read_bytes()]
    for product in stale:
        print(f"{product} is not what {SOURCE} gives: run `make generate-wire`", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
