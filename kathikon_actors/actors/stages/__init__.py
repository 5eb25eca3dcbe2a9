"""Demand-driven stages: consumers ask for as many events as they can take, producers give no more (GenStage's rules)."""
