"""The checker process: runs probes, reports results."""
