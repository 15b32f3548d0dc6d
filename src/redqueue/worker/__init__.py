"""Running jobs: one loop a file. The worker is asynchronous only, with `Worker.run` on top."""
