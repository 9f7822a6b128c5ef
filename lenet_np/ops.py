"""The operations of a convolutional network, each as a pair of pure functions.

``x_forward(...)`` gives the result and a cache; ``x_backward(dy, cache)`` takes the gradient of a
scalar L with respect to the result, dy = dL/dy, and gives the gradients of L with respect to
every input. Nothing is remembered between calls except what the cache holds.

The batch is the LAST axis everywhere: images are (C, H, W, N) and features are (D, N). So a dense
layer is ``W @ x`` as on paper, and the innermost loop of every operation runs over N neighbours in
memory. Every operation keeps the dtype it is given, float32 or float64.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]
Float64 = NDArray[np.float64]
#: Arrays under dotted names such as ``conv1.weight``; gradients have the names of their parameters.
Parameters = dict[str, Array]


# --- im2col and its adjoint ---------------------------------------------------------------------


def output_size(size: int, kernel: int, stride: int, padding: int = 0) -> int:
    """Count the positions of a window along one axis: (size + 2 padding - kernel) / stride + 1.

    All in pixels. ValueError if a length makes no sense, the window does not fit, or the last
    stride would leave pixels that no window covers.
    """
    if kernel < 1 or stride < 1 or padding < 0:
        raise ValueError(
            f"kernel and stride must be at least 1 and padding at least 0, "
            f"got kernel {kernel}, stride {stride}, padding {padding}"
        )
    room = size + 2 * padding - kernel
    if room < 0:
        raise ValueError(f"a window of {kernel} does not fit into {size} + 2*{padding} pixels")
    if room % stride:
        raise ValueError(
            f"windows of {kernel} with stride {stride} do not cover {size} + 2*{padding} pixels "
            f"evenly: {room % stride} would be left over; change the stride or the padding"
        )
    return room // stride + 1


def im2col(x: Array, kernel: tuple[int, int], stride: int = 1, padding: int = 0) -> Array:
    """Line up every window that a kernel sees, so that convolution is a matrix product.

    columns[i, p, c, j, q, n] = x_padded[c, p*stride + i, q*stride + j, n]

    Images x (C, H, W, N) and a kernel (KH, KW) give columns (KH, OH, C, KW, OW, N), read-only. For
    each output row p, the axes (i, c, j) run down a column and (q, n) count the columns. Only the
    width is copied, KW times. The height is a view: windows that share rows of the image share them
    in memory. i comes first so that col2im can take the kernel rows one by one.
    """
    _require_float("x", x, 4)
    output_size(x.shape[1], kernel[0], stride, padding)
    output_size(x.shape[2], kernel[1], stride, padding)
    if padding:
        x = np.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    across = sliding_window_view(x, kernel[1], axis=2)[:, :, ::stride]  # (C, H, OW, N, KW)
    rows = np.ascontiguousarray(across.transpose(1, 0, 4, 2, 3))  # (H, C, KW, OW, N)
    down = sliding_window_view(rows, kernel[0], axis=0)[::stride]  # (OH, C, KW, OW, N, KH)
    return down.transpose(5, 0, 1, 2, 3, 4)


def col2im(
    columns: Iterable[Array],
    image_size: tuple[int, int],
    kernel: tuple[int, int],
    stride: int = 1,
    padding: int = 0,
) -> Array:
    """Add every entry of the columns back to the pixel it came from: the adjoint of im2col.

    <im2col(x), columns> = <x, col2im(columns)> for all x. It is not the inverse: a pixel that k
    windows saw is a sum of k entries.

    The columns are (KH, OH, C, KW, OW, N), or their KH parts one after the other: an iterator can
    make each part when its turn comes, and the whole need never be in memory. The images come
    back as (C, H, W, N), without the padding. ValueError if im2col makes no such columns.
    """
    height, width = image_size
    out_height = output_size(height, kernel[0], stride, padding)
    out_width = output_size(width, kernel[1], stride, padding)
    rows: Array | None = None
    kernel_rows = 0
    for i, part in enumerate(columns):
        _require_float("columns", part, 5)
        if rows is None:  # (H, C, KW, OW, N)
            rows = np.zeros((height + 2 * padding, *part.shape[1:]), part.dtype)
        expected = (out_height, rows.shape[1], kernel[1], out_width, rows.shape[-1])
        if part.shape != expected or part.dtype != rows.dtype or i == kernel[0]:
            raise ValueError(
                f"kernel row {i} of the columns has shape {part.shape} in {part.dtype}; for a "
                f"{height}x{width} image and a {kernel[0]}x{kernel[1]} kernel there must be "
                f"{kernel[0]} of shape {expected} in one dtype"
            )
        kernel_rows += 1
        # += and not =: windows overlap, and a pixel collects from each that saw it.
        rows[i : i + out_height * stride : stride] += part
    if rows is None or kernel_rows < kernel[0]:
        raise ValueError(f"columns have {kernel[0]} kernel rows, got {kernel_rows}")
    x = np.zeros((len(rows), rows.shape[1], width + 2 * padding, rows.shape[-1]), rows.dtype)
    for j in range(kernel[1]):
        x[:, :, j : j + out_width * stride : stride] += rows[:, :, j]
    return x.swapaxes(0, 1)[:, padding : padding + height, padding : padding + width]


# --- convolution --------------------------------------------------------------------------------


class Conv2dCache(NamedTuple):
    columns: Array  # (OH, KH*C*KW, OW*N)
    weight: Array  # (F, C, KH, KW)
    input_shape: tuple[int, ...]  # (C, H, W, N)
    stride: int
    padding: int


class AffineGradients(NamedTuple):
    """Gradients of a convolution or dense layer."""

    x: Any  # an Array, or None where it was not asked for
    weight: Array
    bias: Array


def conv2d_forward(
    x: Array, weight: Array, bias: Array, stride: int = 1, padding: int = 0
) -> tuple[Array, Conv2dCache]:
    """Slide F kernels over the images (cross-correlation, as all networks mean by convolution).

    y[f, p, q, n] = bias[f] + sum_{c,i,j} weight[f, c, i, j] x_padded[c, p*s + i, q*s + j, n]

    x (C, H, W, N), weight (F, C, KH, KW), bias (F,), y (F, OH, OW, N). ValueError if shapes or
    dtypes do not go together, or the windows do not fit.
    """
    _require_float("x", x, 4)
    filters, channels, *kernel = weight.shape if weight.ndim == 4 else (0, 0, 0, 0)
    if weight.ndim != 4 or channels != x.shape[0] or bias.shape != (filters,):
        raise ValueError(
            f"conv2d needs x (C, H, W, N), weight (F, C, KH, KW) and bias (F,); "
            f"got {x.shape}, {weight.shape} and {bias.shape}"
        )
    _require_same_dtype(x, weight, bias)
    windows = im2col(x, (kernel[0], kernel[1]), stride, padding)
    _, out_height, *_, out_width, batch = windows.shape
    # A view, not a copy: in memory the KH image rows of an output row follow each other.
    columns = windows.swapaxes(0, 1).reshape(out_height, -1, out_width * batch)
    # One product for each output row: its columns fit the processor's cache, those of all rows
    # do not.
    y = kernel_matrix(weight) @ columns  # (OH, F, OW*N)
    y += bias[:, np.newaxis]
    cache = Conv2dCache(columns, weight, x.shape, stride, padding)
    return y.swapaxes(0, 1).reshape(filters, out_height, out_width, batch), cache


def kernel_matrix(weight: Array) -> Array:
    """Write each kernel as a row, in the order of the columns: (F, KH*C*KW)."""
    return weight.swapaxes(1, 2).reshape(len(weight), -1)


def conv2d_backward(dy: Array, cache: Conv2dCache, need_dx: bool = True) -> AffineGradients:
    """Send dy (F, OH, OW, N) back through a convolution.

    With the columns X_p of output row p, dY_p as (F, OW*N) and the kernels W as a matrix:
    dW = sum_p dY_p X_pᵀ,  dbias = sum_p dY_p 1,  dX_p = Wᵀ dY_p,  dx = col2im(dX).

    The first layer needs no dx: its input is data, and nobody asks for that gradient.
    """
    filters, channels, kernel_height, kernel_width = cache.weight.shape
    _, height, width, _ = cache.input_shape
    _, out_height, out_width, batch = dy.shape
    dy_rows = dy.reshape(filters, out_height, out_width * batch).swapaxes(0, 1)
    # (X dYᵀ)ᵀ is dY Xᵀ; BLAS is twice as fast when the longer side comes first.
    dmatrix = (cache.columns @ dy_rows.swapaxes(1, 2)).sum(axis=0).T
    dweight = np.ascontiguousarray(
        dmatrix.reshape(filters, kernel_height, channels, kernel_width).swapaxes(1, 2)
    )
    dbias = dy.sum(axis=(1, 2, 3))
    if not need_dx:
        return AffineGradients(None, dweight, dbias)
    # Kernel row by kernel row: all of dX is KH times as much, and does not fit the processor's
    # cache.
    part_shape = (out_height, channels, kernel_width, out_width, batch)
    dcolumns = (
        (weight_row.T @ dy_rows).reshape(part_shape)
        for weight_row in cache.weight.transpose(2, 0, 1, 3).reshape(kernel_height, filters, -1)
    )
    kernel = (kernel_height, kernel_width)
    dx = col2im(dcolumns, (height, width), kernel, cache.stride, cache.padding)
    return AffineGradients(dx, dweight, dbias)


# --- max-pooling --------------------------------------------------------------------------------


class MaxPool2dCache(NamedTuple):
    larger: list[NDArray[np.bool_]]  # for each pixel but the first: above all before it?
    input_shape: tuple[int, ...]  # (C, H, W, N)
    window: int
    stride: int


def max_pool2d_forward(x: Array, window: int, stride: int) -> tuple[Array, MaxPool2dCache]:
    """Keep the largest value of every square window, whose side and step are given in pixels.

    y[c, p, q, n] = max_{i,j} x[c, p*stride + i, q*stride + j, n]

    ValueError if x is not a batch of float images, or the windows do not fit.
    """
    _require_float("x", x, 4)
    output_size(x.shape[1], window, stride)
    output_size(x.shape[2], window, stride)
    first, *others = _window_pixels(x, window, stride)
    y, larger = first.copy(), []
    for pixel in others:
        larger.append(pixel > y)
        np.maximum(y, pixel, out=y)
    return y, MaxPool2dCache(larger, x.shape, window, stride)


def max_pool2d_backward(dy: Array, cache: MaxPool2dCache) -> Array:
    """Send dy back to the pixel that won each window.

    dx[winner of window (p, q)] += dy[p, q]. Where several pixels tie, the first in row-major
    order wins: the gradient must go to one place, not be given out twice. The forward pass took
    y <- max(y, pixel) pixel by pixel. In reverse, a pixel that was larger takes the gradient;
    otherwise it stays for the pixels before.
    """
    larger, input_shape, window, stride = cache
    dx = np.zeros(input_shape, dy.dtype)
    first, *others = _window_pixels(dx, window, stride)
    for dpixel, was_larger in zip(reversed(others), reversed(larger), strict=True):
        share = dy * was_larger
        # += and not =: with a stride below the window, a pixel can win several windows.
        dpixel += share
        dy = dy - share
    first += dy
    return dx


def _window_pixels(x: Array, window: int, stride: int) -> list[Array]:
    """View each pixel of all windows, in row-major order: window² views (C, OH, OW, N)."""
    _, height, width, _ = x.shape
    return [
        x[:, i : height - window + i + 1 : stride, j : width - window + j + 1 : stride]
        for i in range(window)
        for j in range(window)
    ]


# --- the rest of the layers ---------------------------------------------------------------------


class ReluCache(NamedTuple):
    y: Array  # any shape


def relu_forward(x: Array) -> tuple[Array, ReluCache]:
    """Cut off everything below zero: y = max(x, 0), in any shape."""
    _require_float("x", x, None)
    y = np.maximum(x, 0)
    return y, ReluCache(y)


def relu_backward(dy: Array, cache: ReluCache) -> Array:
    """Let dy through where the input was positive: dx = dy [y > 0]; 0 at the kink."""
    return dy * (cache.y > 0)


class DenseCache(NamedTuple):
    x: Array  # (I, N)
    weight: Array  # (O, I)


def dense_forward(x: Array, weight: Array, bias: Array) -> tuple[Array, DenseCache]:
    """Apply an affine map to every example: y = W x + b, with x (I, N), W (O, I), b (O,), y (O, N).

    ValueError if shapes or dtypes do not go together.
    """
    _require_float("x", x, 2)
    if weight.ndim != 2 or weight.shape[1] != x.shape[0] or bias.shape != weight.shape[:1]:
        raise ValueError(
            f"dense needs x (I, N), weight (O, I) and bias (O,); "
            f"got {x.shape}, {weight.shape} and {bias.shape}"
        )
    _require_same_dtype(x, weight, bias)
    return weight @ x + bias[:, np.newaxis], DenseCache(x, weight)


def dense_backward(dy: Array, cache: DenseCache) -> AffineGradients:
    """Send dy back through an affine map: dweight = dy xᵀ,  dbias = dy 1,  dx = Wᵀ dy."""
    return AffineGradients(cache.weight.T @ dy, dy @ cache.x.T, dy.sum(axis=1))


class FlattenCache(NamedTuple):
    input_shape: tuple[int, ...]  # (..., N)


def flatten_forward(x: Array) -> tuple[Array, FlattenCache]:
    """Write each example's values as one feature vector: (..., N) becomes (D, N)."""
    return x.reshape(-1, x.shape[-1]), FlattenCache(x.shape)


def flatten_backward(dy: Array, cache: FlattenCache) -> Array:
    """Give dy the shape that the input had."""
    return dy.reshape(cache.input_shape)


# --- what every operation asks of its input -----------------------------------------------------


def _require_float(name: str, x: Array, ndim: int | None) -> None:
    if x.dtype not in (np.float32, np.float64):
        raise ValueError(f"{name} must be float32 or float64, got {x.dtype}: convert it first")
    if ndim is not None and x.ndim != ndim:
        raise ValueError(f"{name} must have {ndim} axes, the batch last; got shape {x.shape}")


def _require_same_dtype(*arrays: Array) -> None:
    if len({array.dtype for array in arrays}) > 1:
        names = ", ".join(str(array.dtype) for array in arrays)
        raise ValueError(f"x, weight and bias must share one dtype, got {names}")
