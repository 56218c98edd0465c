"""What rules learn: families of tasks and the episodes drawn from them."""

from rulec.tasks.registry import task_from
from rulec.tasks.task import Episode, Task

__all__ = ["Episode", "Task", "task_from"]
