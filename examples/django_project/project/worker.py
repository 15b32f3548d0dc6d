"""What `python -m redqueue.worker project.worker` imports: it sets Django up, and thereby runs `ShopConfig.ready`."""

from __future__ import annotations

import os

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
django.setup()
