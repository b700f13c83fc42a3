"""The trainers: one module a method, on one backbone and one loop."""
