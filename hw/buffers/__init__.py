"""On-chip memories: the bit buffers in banks, the tile buffer of sums, the tile register that writes bits back."""
