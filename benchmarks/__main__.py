"""``make bench``: run every benchmark, or those named: ``python -m benchmarks delivery``."""

from __future__ import annotations

import importlib
import pkgutil
import subprocess
import sys

import benchmarks


def names() -> list[str]:
    found = (module.name for module in pkgutil.iter_modules(benchmarks.__path__))
    return sorted(name for name in found if not name.startswith("_") and name != "site")


def main() -> None:
    if sys.argv[1:2] == ["--in-process"]:
        importlib.import_module(f"benchmarks.{sys.argv[2]}").main()
        return
    for name in sys.argv[1:] or names():
        print(f"\n== {name}", flush=True)
        # A process each, so that none runs with what another has imported or left behind.
        subprocess.run([sys.executable, "-m", "benchmarks", "--in-process", name], check=True)


if __name__ == "__main__":
    main()
