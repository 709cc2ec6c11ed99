"""One folder for each board: part, pins, processor wrapper and build flow."""
