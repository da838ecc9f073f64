"""`python -m tuning` is `tune`."""

from tuning.cli import run

if __name__ == "__main__":
    run()
