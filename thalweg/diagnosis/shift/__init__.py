"""What moved between validation and test data: the explanation of a mismatch."""
