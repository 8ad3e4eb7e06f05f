"""A small method and data set from outside mvjax, as a user would add them."""
