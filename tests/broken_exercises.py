"""Exercise files with one mistake each, of the kinds that students make.

Every entry of `MATHEMATICS` is a task, the code that its finding must have, and what the student
wrote instead of the solution.
"""

from __future__ import annotations

MATHEMATICS = {
    "sign": (
        "dense",
        "wrong-sign",
        """
def dense_backward(dy, cache):
    dx, dweight, dbias = solution["dense_backward"](dy, cache)
    return -dx, dweight, dbias
""",
    ),
    "mean over the batch": (
        "conv2d",
        "batch-mean",
        """
def conv2d_backward(dy, cache):
    dx, dweight, dbias = solution["conv2d_backward"](dy, cache)
    return dx, dweight / dy.shape[-1], dbias
""",
    ),
    "missing sum": (
        "conv2d",
        "bias-sum",
        """
def conv2d_backward(dy, cache):
    dx, dweight, dbias = solution["conv2d_backward"](dy, cache)
    return dx, dweight, dy[:, 0, 0].sum(axis=1)
""",
    ),
    "first example": (
        "dense",
        "first-example-only",
        """
def dense_backward(dy, cache):
    dx, dweight, dbias = solution["dense_backward"](dy, cache)
    return dx, dweight, dy[:, 0]
""",
    ),
    "no sum": (
        "dense",
        "bias-sum",
        """
def dense_backward(dy, cache):
    dx, dweight, dbias = solution["dense_backward"](dy, cache)
    return dx, dweight, dy
""",
    ),
    "= instead of +=": (
        "im2col",
        "overwrite-overlap",
        """
def col2im(columns, x_shape, kernel, stride, padding):
    c, h, w, n = x_shape
    kh, kw = kernel
    oh, ow = (h + 2 * padding - kh) // stride + 1, (w + 2 * padding - kw) // stride + 1
    columns = columns.reshape(c, kh, kw, oh, ow, n)
    dx = np.zeros((c, h + 2 * padding, w + 2 * padding, n))
    for i in range(kh):
        for j in range(kw):
            dx[:, i : i + oh * stride : stride, j : j + ow * stride : stride] = columns[:, i, j]
    return dx[:, padding : padding + h, padding : padding + w]
""",
    ),
    "flipped kernel": (
        "conv2d",
        "flipped-kernel",
        """
def conv2d_backward(dy, cache):
    dx, dweight, dbias = solution["conv2d_backward"](dy, cache)
    return dx, dweight[:, :, ::-1, ::-1], dbias
""",
    ),
    "in place": (
        "relu",
        "in-place",
        """
def relu_forward(x):
    x[x < 0] = 0
    return x, x > 0
def relu_backward(dy, cache):
    return dy * cache
""",
    ),
    "shape": (
        "dense",
        "shape",
        """
def dense_backward(dy, cache):
    dx, dweight, dbias = solution["dense_backward"](dy, cache)
    return dx, dweight, dbias[:, np.newaxis]
""",
    ),
    "layout": (
        "conv2d",
        "layout",
        """
def conv2d_forward(x, weight, bias, stride, padding):
    y, cache = solution["conv2d_forward"](x, weight, bias, stride, padding)
    return y.transpose(3, 0, 1, 2), cache
""",
    ),
    "forward": (
        "max_pool",
        "forward-wrong",
        """
def max_pool_forward(x, window, stride):
    y, cache = solution["max_pool_forward"](x, window, stride)
    return y + 1, cache
""",
    ),
    "ties": (
        "max_pool",
        "ties",
        """
def max_pool_forward(x, window, stride):
    y, cache = solution["max_pool_forward"](x, window, stride)
    return y, (x, y, window, stride)
def max_pool_backward(dy, cache):
    x, y, window, stride = cache
    dx = np.zeros_like(x)
    for p in range(dy.shape[1]):
        for q in range(dy.shape[2]):
            block = np.s_[:, p * stride : p * stride + window, q * stride : q * stride + window]
            dx[block] += (x[block] == y[:, p : p + 1, q : q + 1]) * dy[:, p : p + 1, q : q + 1]
    return dx
""",
    ),
    "overflow": (
        "cross_entropy",
        "overflow",
        """
def softmax_cross_entropy(logits, labels):
    p = np.exp(logits) / np.exp(logits).sum(axis=0)
    return -np.log((p * labels).sum(axis=0)), p - labels
""",
    ),
    "mean of the losses": (
        "cross_entropy",
        "batch-mean",
        """
def softmax_cross_entropy(logits, labels):
    loss, dlogits = solution["softmax_cross_entropy"](logits, labels)
    return loss, dlogits / 3
""",
    ),
    "bias correction": (
        "adam",
        "bias-correction",
        """
def adam_update(parameter, gradient, m, v, step, learning_rate, beta1, beta2, epsilon):
    m = beta1 * m + (1 - beta1) * gradient
    v = beta2 * v + (1 - beta2) * gradient**2
    return parameter - learning_rate * m / (np.sqrt(v) + epsilon), m, v
""",
    ),
    "epsilon": (
        "adam",
        "epsilon",
        """
def adam_update(parameter, gradient, m, v, step, learning_rate, beta1, beta2, epsilon):
    m = beta1 * m + (1 - beta1) * gradient
    v = beta2 * v + (1 - beta2) * gradient**2
    a, b = m / (1 - beta1**step), v / (1 - beta2**step)
    return parameter - learning_rate * a / (np.sqrt(b) + epsilon), m, v
""",
    ),
    "adam in place": (
        "adam",
        "in-place",
        """
def adam_update(parameter, gradient, m, v, *others):
    new, new_m, new_v = solution["adam_update"](parameter, gradient, m, v, *others)
    m[:] = new_m
    return new, m, new_v
""",
    ),
    "1/sigma": (
        "es",
        "sigma",
        """
def es_gradient(loss, logits, labels, noise, sigma):
    total = 0
    for i in range(noise.shape[1]):
        total = total + loss(logits + sigma * noise[:, i], labels) * noise[:, i]
    return total / noise.shape[1]
""",
    ),
    "own baseline": (
        "leave_one_out",
        "baseline",
        """
def leave_one_out_gradient(loss, logits, labels, noise, sigma):
    n = noise.shape[1]
    f = np.stack([loss(logits + sigma * noise[:, i], labels) for i in range(n)])
    return ((f - f.mean(axis=0)) * noise).mean(axis=1) / sigma
""",
    ),
    "two calls": (
        "taylor",
        "estimator-calls",
        """
def taylor_loss(logits, labels, estimator):
    return (estimator(logits, labels)[1] * logits).sum(axis=0), estimator(logits, labels)[1]
""",
    ),
    "upstream": (
        "override",
        "upstream-ignored",
        """
def override_backward(dloss, cache):
    return solution["override_backward"](np.ones_like(dloss), cache)
""",
    ),
    "transposed": (
        "vjp",
        "shape",
        """
def vjp_gradients(*inputs):
    dweight1, dbias1, dweight2, dbias2 = solution["vjp_gradients"](*inputs)
    return dweight1.reshape(-1), dbias1, dweight2, dbias2
""",
    ),
    "1/K": (
        "target",
        "constant-factor",
        """
def target_gradient(logits, labels, estimator, rate):
    targets, dlogits = solution["target_gradient"](logits, labels, estimator, rate)
    return targets, 2 * (logits - targets)
""",
    ),
}
