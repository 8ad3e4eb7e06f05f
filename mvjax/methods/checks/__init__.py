"""Whether the fields of a method fit each other and a data set, a file for each system."""
