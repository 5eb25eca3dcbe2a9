"""The crash-recovery show: a small app, the show itself, and how it is drawn."""
