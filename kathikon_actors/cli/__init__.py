"""The command line: `python -m kathikon_actors`."""
