"""The commands of `bnnedge`, a module each: `add(parser)` declares the options, `run(arguments)` returns the status."""
