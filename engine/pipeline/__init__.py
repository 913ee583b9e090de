"""Many images through one model: stages in threads, tickets, batches that form by themselves, statistics."""
