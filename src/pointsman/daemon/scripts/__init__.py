"""The process that runs administrators' programs: its loop, and each kind of program it runs."""
