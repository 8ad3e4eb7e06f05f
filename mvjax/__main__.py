"""`python -m mvjax` and the console script `mvjax`."""

from mvjax.core import interrupt


def main() -> None:
    """Runs the command line; a signal before it, or after it, ends the process at once."""
    interrupt.end_on_signals()
    from mvjax import cli

    cli.main()


if __name__ == "__main__":
    main()
