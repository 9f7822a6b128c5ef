"""Pictures of digits: from a file that may be anything to the 28 x 28 pixels that are read."""
