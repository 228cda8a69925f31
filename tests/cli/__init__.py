"""The command line, in this process where possible and as a process of its own where that is the point."""
