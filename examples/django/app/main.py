"""Django behind Greendock, in one file. Your project's `wsgi.py` already has `application`."""

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, JsonResponse
from django.urls import path

# Nginx says which hosts are answered (NGINX_SERVER_NAMES) and whether the client used HTTPS.
settings.configure(
    ROOT_URLCONF=__name__,
    ALLOWED_HOSTS=["*"],
    SECURE_PROXY_SSL_HEADER=("HTTP_X_FORWARDED_PROTO", "https"),
)


def root(_request: HttpRequest) -> JsonResponse:
    """Answer as JSON."""
    return JsonResponse({"framework": "django"})


urlpatterns = [path("", root)]
application = get_wsgi_application()
