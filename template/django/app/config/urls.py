"""Which view answers which path."""

from django.urls import path

from config import views

urlpatterns = [
    path("", views.landing),
    path("status.json", views.status_json),
    path("livez", views.livez),
]
