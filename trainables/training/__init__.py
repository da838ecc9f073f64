"""One epoch: losses, optimisers, schedules, metrics, and the loop over batches."""
