"""What happens in the background: `celery --workdir app -A config.celery worker`, and `beat`."""

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

app = Celery("shop", broker="redis://redis/0")
app.conf.update(
    # A job is done when it has ended, not when it was taken: a worker that is killed loses none.
    task_acks_late=True,
    task_ignore_result=True,
    worker_prefetch_multiplier=1,
    broker_connection_retry_on_startup=True,
    beat_schedule={"count": {"task": "shop.tasks.count", "schedule": 2.0}},
)
app.autodiscover_tasks(["shop"])
