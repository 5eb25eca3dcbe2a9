"""State that outlives a crash: when an actor's snapshot is taken, how it is written, who keeps it."""
