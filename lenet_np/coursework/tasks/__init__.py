"""All tasks, in the order in which a course meets them."""

from __future__ import annotations

from . import layers, routes, training

TASKS = {
    task.name: task
    for task in (
        *(layers.dense, layers.relu, layers.im2col, layers.conv2d, layers.max_pool),
        *(training.cross_entropy, training.adam, training.es, training.leave_one_out),
        *(routes.taylor, routes.override, routes.vjp, routes.target),
    )
}
