"""What becomes of sums: statistics, thresholds, softmax, gradient codes, weight updates; and their random numbers."""
