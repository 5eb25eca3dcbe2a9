"""The figures of `python -m benchmarks.jobs`, a file for each kind."""
