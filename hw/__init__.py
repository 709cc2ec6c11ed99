"""The accelerator in Amaranth: engine, buffers, heads, control and bus; `Accelerator` is the top."""
