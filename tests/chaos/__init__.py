"""Real servers, real workers, real kills: `python -m chaos --help`."""
