"""Evaluation: metrics, yardsticks, tasks, and the actors that run a model over them. README: ../README.md."""
