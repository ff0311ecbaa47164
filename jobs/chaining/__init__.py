"""A chain of jobs: its stages, in order, with recognition of what is done and an account of how each ended."""
