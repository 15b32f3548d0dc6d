"""Where code runs: on the event loop, or in threads of redqueue's own."""
