"""The tables."""

from django.db import models


class Product(models.Model):
    name = models.CharField(max_length=100)
    photo = models.FileField(blank=True)

    def __str__(self) -> str:
        return self.name


class Order(models.Model):
    product = models.ForeignKey(Product, on_delete=models.PROTECT)
    placed_at = models.DateTimeField(auto_now_add=True)
    shipped_at = models.DateTimeField(null=True, blank=True)
