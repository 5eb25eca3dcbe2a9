"""Pure: the job record, its state machine, outcomes, backoff, and how workers are declared. No trio, no clock."""
