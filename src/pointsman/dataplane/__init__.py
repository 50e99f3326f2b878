"""Data planes: whatever carries out a service table on packets. `interface` is what all of them offer."""
