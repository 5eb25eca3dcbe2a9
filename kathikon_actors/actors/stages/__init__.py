"""Demand-driven stages, by GenStage's rules: a consumer asks for what it can take, a producer gives no more."""
