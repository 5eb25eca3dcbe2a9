"""Actors: typed messages to objects that live in a task or in an OS process of their own."""
