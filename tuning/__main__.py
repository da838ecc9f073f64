"""`python -m tuning` is `tune`."""

from tuning.cli.main import run

if __name__ == "__main__":
    run()
