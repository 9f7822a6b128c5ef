"""The commands, one file for each word behind ``python -m lenet_np``."""
