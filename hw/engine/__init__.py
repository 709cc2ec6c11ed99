"""The engine: operand fetch, P x Q lanes of XNOR-popcount, and the transposition of row words."""
