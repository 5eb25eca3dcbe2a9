"""Where jobs are kept: the table in memory, the journal that commits it, and the stores behind the journal."""
