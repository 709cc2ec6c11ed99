"""Bit-exact golden model, floating-point references and the simulated device."""
