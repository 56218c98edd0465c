"""Exact mathematics about rules: the only place that knows sympy."""
