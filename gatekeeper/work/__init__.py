"""The worker: claims jobs, has each one analysed by a limited child process, settles it once."""
