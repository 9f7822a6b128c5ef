"""All tasks, in the order in which a course meets them."""

from __future__ import annotations

from lenet_np.coursework.tasks.layers import LAYER_TASKS
from lenet_np.coursework.tasks.routes import ROUTE_TASKS
from lenet_np.coursework.tasks.training import TRAINING_TASKS

TASKS = {task.name: task for task in (*LAYER_TASKS, *TRAINING_TASKS, *ROUTE_TASKS)}
