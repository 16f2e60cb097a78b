"""Ask for what is missing: a conversation on a terminal that ends with a configuration."""
