"""Whatever is typed, and whatever lies in a folder: one line, or the right result."""
