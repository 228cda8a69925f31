"""Protocols and metrics: what the figures in the README and in each model's metrics.json come from."""
