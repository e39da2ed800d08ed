"""The documentation's code blocks, and what is needed to run them."""
