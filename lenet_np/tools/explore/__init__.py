"""The page to draw on: a network, the noise and the estimate in one HTML file."""
