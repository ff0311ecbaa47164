"""The jobs: one module each, run as `python -m jobs.NAME RECIPE.yaml [key=value ...]`, here or by `ray job submit`."""
