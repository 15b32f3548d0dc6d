"""A Django project whose views add jobs when their transaction is committed. In this folder, without a Redis:

export REDIS_URL=embedded://
python manage.py migrate --run-syncdb
python manage.py runserver
python -m redqueue.worker project.worker        # in another terminal; --app-dir names this folder from elsewhere

curl -X POST localhost:8000/orders -d email=ada@example.org
curl localhost:8000/orders/1
"""

from __future__ import annotations

import os
import sys

from django.core.management import execute_from_command_line

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
    execute_from_command_line(sys.argv)
