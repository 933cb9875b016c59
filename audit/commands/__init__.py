"""One command a file, thin: torch and the rest are imported inside them."""
