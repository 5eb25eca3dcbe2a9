"""Crash-isolated processes: the zygote that forks them, the frames they speak, the loops they run."""
