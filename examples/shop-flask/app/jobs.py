"""What happens in the background: `celery -A app.jobs worker` and `celery -A app.jobs beat`."""

import time

from celery import Celery
from sqlalchemy import func

from app.database import Order, Session

celery = Celery("shop", broker="redis://redis/0", backend="redis://redis/1")
celery.conf.update(
    # A job is done when it has ended, not when it was taken: a worker that is killed loses none.
    task_acks_late=True,
    worker_prefetch_multiplier=1,
    broker_connection_retry_on_startup=True,
    beat_schedule={"count": {"task": "app.jobs.count", "schedule": 2.0}},
)


@celery.task(ignore_result=True)
def ship(order: int) -> None:
    """Ship an order; twice is once."""
    time.sleep(0.2)
    with Session.begin() as session:
        session.get_one(Order, order).shipped_at = func.now()


@celery.task
def count() -> int:
    """Count the orders; the scheduler asks for it every two seconds."""
    with Session() as session:
        return session.query(Order).count()
