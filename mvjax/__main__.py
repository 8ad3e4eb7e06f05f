"""`python -m mvjax` and the console script `mvjax`."""

import sys


def main() -> None:
    """Runs the command line; a signal before it, or after it, ends the process at once."""
    try:
        from mvjax.core import interrupt

        interrupt.end_on_signals()
    except KeyboardInterrupt:
        print("mvjax: interrupted", file=sys.stderr)
        sys.exit(130)
    from mvjax import cli

    cli.main()


if __name__ == "__main__":
    main()
