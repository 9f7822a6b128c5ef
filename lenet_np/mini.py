"""Page one: LeNet-5 learns to read digits from counted errors alone (python -m lenet_np.mini)."""

import numpy as np

from lenet_np.data import gather, load_dataset

# The batch comes last: images (C, H, W, N), features (D, N), logits (K, N), noise (K, n, N).
Arrays = dict[str, np.ndarray]
RATE, SIGMA, SAMPLES, BATCH, EPOCHS = 1e-3, 4.0, 200, 128, 5
SHAPES: dict[str, tuple[int, ...]] = {"conv1": (6, 1, 5, 5), "conv2": (16, 6, 5, 5)}
SHAPES |= {"dense1": (120, 400), "dense2": (84, 120), "logits": (10, 84)}


def forward(p: Arrays, x: np.ndarray) -> tuple[np.ndarray, Arrays]:
    seen = {}  # what the way back will need
    for layer in ("conv1", "conv2"):
        seen[layer] = np.lib.stride_tricks.sliding_window_view(x, (5, 5), axis=(1, 2))
        y = np.tensordot(p[f"{layer}.weight"], seen[layer], ((1, 2, 3), (0, 4, 5)))
        y += p[f"{layer}.bias"][:, None, None, None]
        pixels = np.stack([y[:, i::2, j::2] for i in (0, 1) for j in (0, 1)])  # of 2x2 windows
        x = np.maximum(pixels.max(axis=0), 0)  # max-pool, then ReLU
        seen[f"{layer} winners"] = np.equal.outer(np.arange(4), pixels.argmax(axis=0)) & (x > 0)
    for layer in ("dense1", "dense2", "logits"):
        seen[layer] = x = x.reshape(-1, x.shape[-1])
        y = p[f"{layer}.weight"] @ x + p[f"{layer}.bias"][:, None]
        x = np.maximum(y, 0)
    return y, seen  # the logits, without a ReLU


def backward(p: Arrays, dy: np.ndarray, seen: Arrays) -> Arrays:  # the chain rule, layer by layer
    g = {}
    for layer in ("logits", "dense2", "dense1"):
        g[f"{layer}.weight"], g[f"{layer}.bias"] = dy @ seen[layer].T, dy.sum(axis=1)
        dy = (p[f"{layer}.weight"].T @ dy) * (seen[layer] > 0)
    dx = dy.reshape(16, 5, 5, -1)
    for layer in ("conv2", "conv1"):
        dy = np.zeros((len(dx), *seen[layer].shape[1:4]), dx.dtype)
        for k, won in enumerate(seen[f"{layer} winners"]):  # the winner has all of the gradient
            dy[:, k // 2 :: 2, k % 2 :: 2] = dx * won
        g[f"{layer}.weight"] = np.tensordot(dy, seen[layer], ((1, 2, 3), (1, 2, 3)))
        g[f"{layer}.bias"] = dy.sum(axis=(1, 2, 3))
        if layer == "conv2":  # a pixel collects from every window that saw it
            dx = np.zeros((6, 14, 14, dy.shape[-1]), dy.dtype)
            for i, j in np.ndindex(5, 5):
                dx[:, i : i + 10, j : j + 10] += np.tensordot(p["conv2.weight"][..., i, j].T, dy, 1)
    return g


def estimate(logits: np.ndarray, labels: np.ndarray, noise: np.ndarray) -> np.ndarray:
    # Evolution Strategies: count the successes among n noisy copies of the logits, (n, N).
    success = (logits[:, None] + SIGMA * noise).argmax(axis=0) == labels.argmax(axis=0)
    # Weights error / n descend the probability of an error, and most seeds lose a digit. The cure
    # descends -log of the probability of success: the fewer succeed, the more each one counts.
    weight = (1 / len(success) - success / np.maximum(success.sum(axis=0), 1)) * success.any(axis=0)
    return np.asarray((noise * weight.astype(noise.dtype)).sum(axis=1) / SIGMA)


def adam(p: Arrays, g: Arrays, m: Arrays, v: Arrays, t: int) -> tuple[Arrays, Arrays, Arrays, int]:
    m = {k: 0.9 * m[k] + 0.1 * g[k] for k in p}
    v = {k: 0.999 * v[k] + 0.001 * g[k] ** 2 for k in p}
    rate = RATE * (1 - 0.999**t) ** 0.5 / (1 - 0.9**t)  # early on, m and v are too small
    return {k: p[k] - rate * m[k] / (np.sqrt(v[k]) + 1e-8) for k in p}, m, v, t + 1


if __name__ == "__main__":
    data, rng = load_dataset("auto", notify=print), np.random.default_rng(0)
    p: Arrays = {f"{layer}.bias": np.zeros(shape[0], "f4") for layer, shape in SHAPES.items()}
    for layer, shape in SHAPES.items():  # U(-a, a) keeps signals of one size (Glorot & Bengio)
        a = (6 / sum(shape[:2]) / np.prod(shape[2:])) ** 0.5
        p[f"{layer}.weight"] = rng.uniform(-a, a, shape).astype("f4")
    m, v, t = {k: 0 * p[k] for k in p}, {k: 0 * p[k] for k in p}, 1
    for epoch in range(1, EPOCHS + 1):
        for batch in np.array_split(rng.permutation(len(data.train)), len(data.train) // BATCH):
            images, labels = gather(data.train, batch)
            logits, seen = forward(p, images)
            noise = rng.standard_normal((10, SAMPLES, len(batch)), "f4")
            p, m, v, t = adam(p, backward(p, estimate(logits, labels, noise), seen), m, v, t)
        parts = (gather(data.validation, slice(i, i + 500)) for i in range(0, 5000, 500))
        right = np.mean([forward(p, x)[0].argmax(axis=0) == y.argmax(axis=0) for x, y in parts])
        print(f"epoch {epoch}: validation accuracy {right:.4f} on {data.name}")
