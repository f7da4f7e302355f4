"""Runs the command line: `python -m ddtp`."""

from ddtp.cli import main

if __name__ == "__main__":
    main()
