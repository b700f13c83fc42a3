"""Suites as task files of other evaluation harnesses: Inspect, and lm-eval."""
