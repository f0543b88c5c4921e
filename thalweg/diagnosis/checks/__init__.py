"""Checks: wiring, data and dynamics, each of which tests one mechanism and gives the flaws that it sees."""
