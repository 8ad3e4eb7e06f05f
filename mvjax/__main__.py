"""`python -m mvjax` and the console script `mvjax`."""

import sys


def main() -> None:
    """Runs the command line."""
    try:
        from mvjax import cli
    except KeyboardInterrupt:
        print("mvjax: interrupted", file=sys.stderr)
        sys.exit(130)
    cli.main()


if __name__ == "__main__":
    main()
