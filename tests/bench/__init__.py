"""The benchmark: `python -m tests.bench AREA… [--json]`. Every figure that it prints was measured in that run."""
