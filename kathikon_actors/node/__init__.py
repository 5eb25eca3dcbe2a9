"""The node: the app's declaration and the supervision tree that runs it."""
