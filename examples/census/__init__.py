"""The parts of `examples.stdlib_census`: finding and counting files, the app, the run, the report, the chaos."""
