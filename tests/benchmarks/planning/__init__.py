"""The planner beside what is measured here, and beside what others published."""
