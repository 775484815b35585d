"""Which view answers which path."""

from django.contrib import admin
from django.urls import path

from config import views
from shop import views as shop

urlpatterns = [
    path("", views.landing),
    path("status.json", views.status_json),
    path("livez", views.livez),
    path("shop/", shop.front),
    path("orders", shop.orders),
    path("admin/", admin.site.urls),
]
