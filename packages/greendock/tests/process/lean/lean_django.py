"""A Django application that uses what depends on the server: bodies, files, streams, cookies, conditions."""

from __future__ import annotations

from pathlib import Path

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import FileResponse, HttpResponse, HttpResponseRedirect, JsonResponse, StreamingHttpResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

settings.configure(
    ROOT_URLCONF=__name__,
    SECRET_KEY="for tests only",  # noqa: S106
    ALLOWED_HOSTS=["*"],
    SECURE_PROXY_SSL_HEADER=("HTTP_X_FORWARDED_PROTO", "https"),
    MIDDLEWARE=[
        "django.middleware.gzip.GZipMiddleware",
        "django.middleware.http.ConditionalGetMiddleware",
        "django.middleware.common.CommonMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
    ],
)


def index(request):
    return JsonResponse({"secure": request.is_secure(), "url": request.build_absolute_uri(), "get": request.GET})


@csrf_exempt
def form(request):
    files = {name: [file.name, file.size, file.read().decode()] for name, file in request.FILES.items()}
    return JsonResponse({"post": request.POST, "files": files, "type": request.content_type})


@csrf_exempt
def body(request):
    return HttpResponse(request.body, content_type="application/octet-stream")


def stream(request):
    return StreamingHttpResponse(f"{number}\n" for number in range(5))


def file(request):
    return FileResponse(Path(__file__).open("rb"))


def cookie(request):
    response = HttpResponseRedirect("/")
    response.set_cookie("one", request.COOKIES.get("one", "") + "!")
    response.set_cookie("two", "2", httponly=True)
    return response


def boom(request):
    raise ValueError("boom")


urlpatterns = [path("", index)] + [path(view.__name__, view) for view in (form, body, stream, file, cookie, boom)]
app = get_wsgi_application()
