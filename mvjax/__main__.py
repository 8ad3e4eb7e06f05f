"""`python -m mvjax`, the same as the console script `mvjax`."""

from mvjax import cli

if __name__ == "__main__":
    cli.main()
