"""SPoT."""
