"""What a cluster costs in time: submitting, starting, growing, shrinking. Run: python -m tests.benchmarks.cluster."""
