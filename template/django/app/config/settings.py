"""Django's settings: https://docs.djangoproject.com/en/stable/ref/settings/"""

import os
from pathlib import Path

from django.core.management.utils import get_random_secret_key

BASE_DIR = Path(__file__).resolve().parent.parent

# Without DJANGO_SECRET_KEY in .env each worker makes up its own, and nobody stays logged in.
SECRET_KEY = os.environ.get("DJANGO_SECRET_KEY") or get_random_secret_key()
DEBUG = os.environ.get("DJANGO_DEBUG") == "on"

# Nginx says which hosts are answered (NGINX_SERVER_NAMES), and whether the client used HTTPS.
ALLOWED_HOSTS = ["*"]
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")

ROOT_URLCONF = "config.urls"
INSTALLED_APPS = ["django.contrib.staticfiles"]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
]
TEMPLATES = [
    {"BACKEND": "django.template.backends.django.DjangoTemplates", "DIRS": [BASE_DIR / "templates"], "APP_DIRS": True}
]

# No database yet: https://docs.djangoproject.com/en/stable/ref/settings/#databases
DATABASES: dict[str, dict[str, str]] = {}

# Nginx serves app/static/. What your applications bring, `collectstatic` puts there while the images are built.
STATIC_URL = "/static/"
STATIC_ROOT = BASE_DIR / "static"

# To the container's log.
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "root": {"handlers": ["console"], "level": "INFO"},
}

USE_TZ = True
