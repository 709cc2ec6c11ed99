"""Heads, which process sums: statistics, thresholds, softmax, gradient codes, weight updates; and their random numbers."""
