"""LeNet-5 on MNIST in NumPy, trained through the 0-1 loss with Evolution Strategies."""

__version__ = "0.2.0"
