"""The tasks about layers: dense, ReLU, im2col, convolution, max-pool."""

from __future__ import annotations

import numpy as np

from ..layouts import Array
from ..pairs import Pair, judge_pairs, pair_parts, student_pair
from ..task import Exercise, compare, task


def _distinct(exercise: Exercise, number: int, *shape: int) -> Array:
    """Draw values that differ by at least 0.1, none within 0.05 of zero: no kink is near."""
    size = int(np.prod(shape))
    values = (np.arange(size) - size // 2) * 0.1 + 0.05
    return exercise.rng(number).permutation(values).reshape(shape)


# --- dense ----------------------------------------------------------------------------------------

DENSE = '''\
def dense_forward(x, weight, bias):
    """Apply an affine map to every example: {dense}.

    x : ({features:I, N})
    weight : ({weights:O, I})
    bias : (O,)

    Returns y, ({features:O, N}), and a cache: whatever dense_backward will need.
    """
    raise NotImplementedError


def dense_backward(dy, cache):
    """Differentiate a scalar L: given dy = dL/dy, find dL/dx, dL/dweight and dL/dbias.

    dy : ({features:O, N})
    cache : from dense_forward

    Returns dx, dweight, dbias, with the shapes of x, weight and bias. Those of the parameters are
    sums over the batch.
    """
    raise NotImplementedError
'''


@task(
    pair_parts(3, x=2, weight=2, bias=1),
    "the chain rule for a matrix product; the bias gradient is a sum",
    DENSE,
)
def dense(exercise: Exercise) -> None:
    inputs, outputs, batch = (size + exercise.grow for size in (4, 5, 3))
    given = {
        "x": exercise.layout.features.from_package(exercise.normal(1, inputs, batch)),
        "weight": exercise.layout.weights.from_package(exercise.normal(2, outputs, inputs)),
        "bias": exercise.normal(3, outputs),
    }
    case = f"{inputs} features in, {outputs} out, a batch of {batch}"
    pair = student_pair(exercise, "dense", case, given)
    judge_pairs(exercise, exercise.layout.batch_axis, pair)


# --- ReLU -----------------------------------------------------------------------------------------

RELU = '''\
def relu_forward(x):
    """Cut off everything below zero: y = max(x, 0).

    x : any shape

    Returns y, the same shape, and a cache.
    """
    raise NotImplementedError


def relu_backward(dy, cache):
    """Let dy through where x was positive: dx = dy where x > 0, else 0.

    dy : the shape of x
    cache : from relu_forward

    Returns dx, the shape of x.
    """
    raise NotImplementedError
'''


@task(pair_parts(2, x=1), "a local derivative: the upstream gradient passes or it does not", RELU)
def relu(exercise: Exercise) -> None:
    features, images, n = exercise.layout.features, exercise.layout.images, exercise.grow
    cases = {
        "features": features.from_package(_distinct(exercise, 1, 5, 4 + n)),
        "images": images.from_package(_distinct(exercise, 2, 2, 3, 4 + n, 2)),
    }
    judge_pairs(
        exercise,
        exercise.layout.batch_axis,
        *(
            student_pair(exercise, "relu", f"{case} of shape {x.shape}", {"x": x})
            for case, x in cases.items()
        ),
    )


# --- im2col ---------------------------------------------------------------------------------------

IM2COL = '''\
def im2col(x, kernel, stride, padding):
    """Line up every window that a kernel sees, so that convolution is one matrix product.

    columns[{columns.index}] = x_padded[{images:c, p*stride + i, q*stride + j, n}]

    x_padded is x with `padding` zeros on each side of height and width. The window at output
    (p, q) holds the pixels i < KH, j < KW of channel c. A group in brackets is one axis, in which
    the last of its indices runs fastest, as in reshape.
    OH = (H + 2 padding - KH)/stride + 1, OW likewise; both come out whole here.

    x : ({images:C, H, W, N})
    kernel : (KH, KW), two ints
    stride, padding : int

    Returns columns, ({columns.shape}).
    """
    raise NotImplementedError


def col2im(columns, x_shape, kernel, stride, padding):
    """Add every entry of the columns back to the pixel that it came from.

    This is the backward pass of im2col: given dL/dcolumns it returns dL/dx. A pixel that several
    windows saw collects from each of them; what lies in the padding is dropped.

    columns : ({columns.shape})
    x_shape : ({images:C, H, W, N}), four ints
    kernel, stride, padding : as for im2col

    Returns an array of shape x_shape.
    """
    raise NotImplementedError
'''


@task(
    pair_parts(4, x=4),
    "a copy's backward pass is an addition: the adjoint of a linear map",
    IM2COL,
    {
        "overwrite-overlap": "How many windows see a pixel in the middle? Each of them sends "
        "something back to it."
    },
)
def im2col(exercise: Exercise) -> None:
    im2col, col2im = exercise.student["im2col"], exercise.student["col2im"]
    pairs = []
    for case, (c, h, w, n), kernel, stride, padding in (
        ("stride 1 and no padding", (2, 4, 5, 3), (2, 3), 1, 0),
        ("stride 2 and padding 1", (2, 5, 7, 2), (3, 3), 2, 1),
    ):
        more = stride * exercise.grow
        x = exercise.layout.images.from_package(exercise.normal(4, c, h + more, w + more, n))
        how = (kernel, stride, padding)
        y = exercise.know("im2col", x, *how)["y"]
        dy = exercise.normal(99, *y.right.shape)
        pair = Pair(
            case,
            lambda x, how=how: im2col(x, *how),
            lambda dy, shape=x.shape, how=how: col2im(dy, shape, *how),
            {"x": x},
            y,
            dy,
            exercise.know("col2im", dy, x, *how),
            cache="kept",
        )
        pairs.append(pair)
    judge_pairs(exercise, None, *pairs)


# --- convolution ----------------------------------------------------------------------------------

CONV2D = '''\
def conv2d_forward(x, weight, bias, stride, padding):
    """Slide F kernels over the images (cross-correlation: the kernel is not flipped).

    y[{images:f, p, q, n}] = bias[f] + sum over c, i, j of
        weight[{kernels:f, c, i, j}] x_padded[{images:c, p*stride + i, q*stride + j, n}]

    x_padded is x with `padding` zeros on each side of height and width.
    OH = (H + 2 padding - KH)/stride + 1, OW likewise; both come out whole here.

    x : ({images:C, H, W, N})
    weight : ({kernels:F, C, KH, KW})
    bias : (F,)
    stride, padding : int

    Returns y, ({images:F, OH, OW, N}), and a cache: whatever conv2d_backward will need.
    """
    raise NotImplementedError


def conv2d_backward(dy, cache):
    """Differentiate a scalar L: given dy = dL/dy, find dL/dx, dL/dweight and dL/dbias.

    dy : ({images:F, OH, OW, N})
    cache : from conv2d_forward

    Returns dx, dweight, dbias, with the shapes of x, weight and bias.
    """
    raise NotImplementedError
'''


@task(
    pair_parts(7, x=5, weight=4, bias=2),
    "convolution as a matrix product, and its three gradients",
    CONV2D,
)
def conv2d(exercise: Exercise) -> None:
    images, kernels = exercise.layout.images, exercise.layout.kernels
    pairs = []
    for case, (c, h, w, n), kernel, stride, padding in (
        ("stride 1 and no padding", (2, 4, 6, 3), (5, 2, 2, 3), 1, 0),
        ("stride 2 and padding 1", (1, 5, 7, 3), (2, 1, 3, 3), 2, 1),
    ):
        more = stride * exercise.grow
        inputs = {
            "x": images.from_package(exercise.normal(5, c, h + more, w + more, n)),
            "weight": kernels.from_package(exercise.normal(6, *kernel)),
            "bias": exercise.normal(7, kernel[0]),
        }
        pairs.append(student_pair(exercise, "conv2d", case, inputs, stride, padding))
    judge_pairs(exercise, exercise.layout.batch_axis, *pairs)


# --- max-pool -------------------------------------------------------------------------------------

MAX_POOL = '''\
def max_pool_forward(x, window, stride):
    """Keep the largest value of every window.

    y[{images:c, p, q, n}] = max over i, j < window of x[{images:c, p*stride + i, q*stride + j, n}]

    x : ({images:C, H, W, N})
    window, stride : int; OH = (H - window)/stride + 1, OW likewise, both whole here

    Returns y, ({images:C, OH, OW, N}), and a cache.
    """
    raise NotImplementedError


def max_pool_backward(dy, cache):
    """Send dy back to the pixel that won each window.

    Where several pixels of a window tie, the first one in reading order (row by row) wins and
    takes all. With a stride below the window, a pixel can win several windows.

    dy : ({images:C, OH, OW, N})
    cache : from max_pool_forward

    Returns dx, ({images:C, H, W, N}).
    """
    raise NotImplementedError
'''


@task(
    {**pair_parts(3, x=3), "ties": 2},
    "routing a gradient to the winner, and what a tie means",
    MAX_POOL,
    {
        "ties": "Compare with the maximum marks every pixel that equals it. The docstring "
        "says which one takes dy."
    },
)
def max_pool(exercise: Exercise) -> None:
    images = exercise.layout.images
    pairs = []
    for case, (c, h, w, n), window, stride in (
        ("windows of 2, stride 2", (2, 4, 6, 3), 2, 2),
        ("windows of 3, stride 2", (1, 5, 7, 3), 3, 2),
    ):
        more = stride * exercise.grow
        x = images.from_package(_distinct(exercise, 8, c, h + more, w + more, n))
        pairs.append(student_pair(exercise, "max_pool", case, {"x": x}, window, stride))
    judge_pairs(exercise, exercise.layout.batch_axis, *pairs)
    tied = images.from_package(exercise.rng(9).integers(0, 3, (2, 4, 6, 3)).astype(float))
    pair = student_pair(exercise, "max_pool", "ties in the windows", {"x": tied}, 2, 2)
    with exercise.part("ties"):
        compare(f"with {pair.case}: the gradient of x", pair.gradient("x"), pair.gradients["x"])
