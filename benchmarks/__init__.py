"""What the parts cost, each figure beside the floor of the machine in the same run."""
