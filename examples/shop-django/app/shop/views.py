"""The shop's pages."""

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render

from shop.models import Order, Product
from shop.tasks import ship

VERSION = "one"


def front(request: HttpRequest) -> HttpResponse:
    """Show the products, each with a button."""
    return render(request, "front.html", {"products": Product.objects.order_by("pk")})


def orders(request: HttpRequest) -> JsonResponse:
    """Take an order (POST), or say how many there are."""
    if request.method == "POST":
        order = Order.objects.create(product_id=int(request.POST["product"]))
        ship.delay(order.pk)
        return JsonResponse({"order": order.pk})
    shipped = Order.objects.filter(shipped_at__isnull=False).count()
    return JsonResponse({"version": VERSION, "placed": Order.objects.count(), "shipped": shipped})
