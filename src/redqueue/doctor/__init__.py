"""What is wrong with a server and the queues on it, and what to do: `examine` looks, and changes nothing."""

from __future__ import annotations

from redqueue.doctor.examine import Diagnosis as Diagnosis
from redqueue.doctor.examine import examine as examine
from redqueue.doctor.facts import Finding as Finding
from redqueue.doctor.facts import Level as Level
