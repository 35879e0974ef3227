"""`python -m orchestrator`: all commands."""

from orchestrator.cli import main

if __name__ == "__main__":
    main()
