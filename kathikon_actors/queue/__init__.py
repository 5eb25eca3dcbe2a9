"""One queue of a node: the priority heap, the producer that dispatches from it, the pool of worker processes."""
