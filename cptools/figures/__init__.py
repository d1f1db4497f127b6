"""Numbers and images to pictures; no torch, no files of the other layers."""
