"""Actors: gen_server's semantics for classes whose async methods are their messages, in a task or in a process."""
