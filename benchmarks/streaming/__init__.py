"""Public benchmarks of streaming video, asked about recordings under several policies and budgets at once."""
