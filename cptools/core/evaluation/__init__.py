"""What features are worth: probes, neighbors, alignment and uniformity, statistics."""
