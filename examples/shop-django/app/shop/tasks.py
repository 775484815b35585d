"""The jobs."""

import time

from django.utils import timezone

from config.celery import app
from shop.models import Order


@app.task
def ship(order: int) -> None:
    """Ship an order; twice is once."""
    time.sleep(0.2)
    Order.objects.filter(pk=order).update(shipped_at=timezone.now())


@app.task
def count() -> None:
    """Count the orders; the scheduler asks for it every two seconds."""
    Order.objects.count()
