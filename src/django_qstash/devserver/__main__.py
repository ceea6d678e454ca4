"""``python -m django_qstash.devserver``: the server without a Django project."""

from __future__ import annotations

import argparse
import sys

from django_qstash.devserver import cli


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m django_qstash.devserver", description=cli.DESCRIPTION
    )
    cli.add_arguments(parser)
    return cli.run(vars(parser.parse_args(argv)))


if __name__ == "__main__":
    sys.exit(main())
