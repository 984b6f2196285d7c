"""What a run will cost before it is spent: rates that were measured, and sums over a run's parameters."""
