"""Data: MNIST, read, verified and downloaded, and the synthetic digits that need no network."""

from lenet_np.data.dataset import CLASSES, DataError, Dataset, Split, one_hot, pad_to_32
from lenet_np.data.load import load_dataset
from lenet_np.data.minibatch import gather
from lenet_np.data.mnist import load_mnist

__all__ = [
    "CLASSES",
    "DataError",
    "Dataset",
    "Split",
    "gather",
    "load_dataset",
    "load_mnist",
    "one_hot",
    "pad_to_32",
]
