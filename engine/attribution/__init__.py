"""What attribution methods share: the problem, the inputs, the explanation."""
