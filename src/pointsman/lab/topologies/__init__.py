"""The topologies of the lab, and the parts that they consist of."""
