"""The built-in tasks."""

from redqueue.tasks.builtin import BuiltinTasks, builtin_tasks
from redqueue.tasks.channels import RecipientRefused
from redqueue.tasks.pure import LONGEST_DELAY_MS, calculate_sum, delay, process_data, pure_tasks

__all__ = [
    "LONGEST_DELAY_MS",
    "BuiltinTasks",
    "RecipientRefused",
    "builtin_tasks",
    "calculate_sum",
    "delay",
    "process_data",
    "pure_tasks",
]
