"""The process that runs administrators' programs."""
