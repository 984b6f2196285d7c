"""Training: data sets, batches, optimisers, schedules, checkpoints and the one trainer."""
