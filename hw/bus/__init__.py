"""AXI: the memory ports' masters and the registers' slave."""
