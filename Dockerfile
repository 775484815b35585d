# Both images of the stack; `docker compose build` makes them. What your application needs beside Python packages is set
# in .env (docs/real-application.md), so that this file can stay as it is.
ARG PYTHON_IMAGE=python:3.14-slim
ARG NGINX_IMAGE=nginx:1.30
ARG NODE_IMAGE=node:24-slim
# npm: build assets/ with Node. none: there is nothing to build.
ARG ASSETS=none

# --- assets: what `npm run build` writes to assets/dist becomes a part of app/static ---------------------------------
FROM scratch AS assets-none
WORKDIR /assets/dist

FROM ${NODE_IMAGE} AS assets-npm
COPY certs/ /usr/local/share/ca-certificates/greendock/
RUN cat /etc/ssl/certs/ca-certificates.crt /usr/local/share/ca-certificates/greendock/*.crt >/ca.crt 2>/dev/null || true
ENV NODE_EXTRA_CA_CERTS=/ca.crt
WORKDIR /assets
COPY assets/package.json assets/package-lock.json ./
RUN --mount=type=cache,target=/root/.npm npm ci --no-audit --no-fund
# The application lies beside the assets, as in your checkout: tools such as Tailwind read its templates.
COPY app/ /app/
COPY assets/ ./
RUN npm run build

# hadolint ignore=DL3006
FROM assets-${ASSETS} AS assets

# --- base: the application's account and the Debian packages it needs to run -----------------------------------------
FROM ${PYTHON_IMAGE} AS base
RUN groupadd --system --gid 10001 app && useradd --system --uid 10001 --gid app --no-create-home --home-dir /srv/app app \
    && install -d -m 0700 -o app -g app /run/greendock /run/release \
    # A volume for uploads takes its owner from here: see docs/nginx.md.
    && install -d -o app -g app /srv/media
ARG RUNTIME_PACKAGES=
# hadolint ignore=SC2086
RUN [ -z "$RUNTIME_PACKAGES" ] || { apt-get update && apt-get install --yes --no-install-recommends $RUNTIME_PACKAGES \
    && rm -rf /var/lib/apt/lists/*; }

# --- build: everything that needs a package index or a compiler stays in this stage ----------------------------------
FROM base AS build
# certs/ may hold your company proxy's CA (*.crt); the stage then trusts it. It is empty otherwise.
COPY certs/ /usr/local/share/ca-certificates/greendock/
RUN update-ca-certificates
ARG BUILD_PACKAGES=
# hadolint ignore=SC2086
RUN [ -z "$BUILD_PACKAGES" ] || { apt-get update && apt-get install --yes --no-install-recommends $BUILD_PACKAGES; }
# uv reads the system's certificates, so that a proxy that re-signs HTTPS works.
ENV SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt \
    UV_COMPILE_BYTECODE=1 \
    UV_LINK_MODE=copy \
    UV_NO_PROGRESS=1 \
    UV_PROJECT_ENVIRONMENT=/srv/venv \
    UV_PYTHON_DOWNLOADS=never
RUN python -m venv /opt/uv && /opt/uv/bin/pip install --no-cache-dir --disable-pip-version-check "uv==0.13.8"
WORKDIR /build
# Dependencies first: this layer is built again only when they change. uv checks every hash in uv.lock, and takes the
# name and password of a private index from the secret.
COPY pyproject.toml uv.lock ./
COPY packages/ packages/
# Every Python process of the image reads NAME_FILE secrets when it starts: see greendock/env/secrets.py.
RUN --mount=type=cache,target=/root/.cache/uv --mount=type=secret,id=netrc,target=/root/.netrc \
    /opt/uv/bin/uv sync --locked --no-default-groups --no-editable \
    && echo 'import greendock.env.secrets as secrets; secrets.export()' >"$(echo /srv/venv/lib/python3*/site-packages)/greendock-secrets.pth" \
    && python -c "import py_compile; py_compile.compile('packages/greendock/src/greendock/runtime/healthcheck.py', '/srv/healthcheck.pyc', doraise=True)"
WORKDIR /srv/app
COPY gunicorn.conf.py ./
COPY app/ app/
COPY --from=assets /assets/dist/ app/static/
RUN python -m compileall -q -j 0 .
# Such as `collectstatic`: it may write below /srv/app, and both images take the result.
ARG BUILD_COMMAND=
RUN PATH=/srv/venv/bin:$PATH sh -ec "${BUILD_COMMAND:-true}"

# --- the image that holds the published ports: one file, which changes hardly ever ------------------------------------
FROM ${PYTHON_IMAGE} AS port
LABEL org.opencontainers.image.title="greendock-port" \
      org.opencontainers.image.licenses="MIT"
# The volume made from this folder is the account's own.
RUN install -d -o 101 -g 101 /run/port
COPY packages/greendock/src/greendock/proxy/ports.py /ports.py
USER 101:101
VOLUME /run/port
HEALTHCHECK --interval=30s --timeout=3s --start-period=10s --start-interval=1s CMD ["test", "-S", "/run/port/socket"]
CMD ["python", "-I", "-S", "/ports.py"]

# --- proxy: Nginx, and the program that renders its configuration ----------------------------------------------------
FROM ${NGINX_IMAGE} AS proxy
# python3 renders the configuration, curl asks for health, openssl makes the development certificate, brotli compresses
# static files.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3 curl openssl brotli \
    && rm -rf /var/lib/apt/lists/* \
    # Any account may be given to `docker run --user`; a volume made from this folder keeps its mode.
    && install -d -m 1777 /run/nginx /var/cache/nginx \
    && install -d -o 101 -g 101 /run/port \
    && install -d -m 0700 -o 101 -g 101 /run/acme
ENV GREENDOCK_TEMPLATE=1 PYTHONPATH=/opt/greendock PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
# The same `greendock` command as in the application's image; here it is about the proxy. It needs no other package.
COPY packages/greendock/src/greendock/ /opt/greendock/greendock/
RUN python3 -m compileall -q /opt/greendock \
    && printf '#!/bin/sh\nexec python3 -m greendock proxy "$@"\n' >/usr/local/bin/greendock \
    && chmod 755 /usr/local/bin/greendock \
    && chmod -R a+rX,go-w /opt/greendock
# `greendock run` renders the configuration, has Nginx test it, and becomes Nginx; any other command runs as it is.
ENTRYPOINT ["greendock", "run"]

# --- the ACME client's image: NGINX_TLS=acme -------------------------------------------------------------------------
FROM proxy AS acme
LABEL org.opencontainers.image.title="greendock-acme" \
      org.opencontainers.image.licenses="MIT"
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends certbot \
    && rm -rf /var/lib/apt/lists/* \
    && install -d -m 0700 -o 101 -g 101 /var/lib/acme
# The proxy's account: it must read the key, and nobody else.
USER 101:101
STOPSIGNAL SIGTERM
CMD ["greendock", "acme"]

# --- the proxy's image -----------------------------------------------------------------------------------------------
FROM proxy AS nginx
LABEL org.opencontainers.image.title="greendock-nginx" \
      org.opencontainers.image.licenses="MIT"
# Static files belong to the image: a new image cannot serve the old ones from a volume.
COPY --from=build /srv/app/app/static/ /srv/static/
RUN greendock precompress /srv/static
# Your own pieces: http.d, server.d, location.d, errors.
COPY nginx/ /opt/greendock/nginx/
RUN chmod -R a+rX,go-w /opt/greendock/nginx /srv/static
# The account `nginx` of the official image, by number, so that Kubernetes can tell it is not root.
USER 101:101
EXPOSE 8080 8443
# Large bodies and responses wait here for slow clients: on a disk, not in the memory of a tmpfs.
VOLUME /var/cache/nginx
# QUIT lets open requests end; TERM would cut them. https://nginx.org/en/docs/control.html
STOPSIGNAL SIGQUIT
# Where the holder of the ports has started again, the sockets in use lead nowhere: end, and start with the new ones.
HEALTHCHECK --interval=10s --timeout=3s --retries=3 --start-period=10s --start-interval=1s \
    CMD ["sh", "-c", "[ ! -e $NGINX_PORT_DIR/id ] || cmp -s $NGINX_PORT_DIR/id ${NGINX_RUN_DIR:-/run/nginx}/port.id \
    || kill 1; exec curl -fsS -m 2 -o /dev/null http://127.0.0.1:${NGINX_STATUS_PORT:-8081}/healthz"]
CMD ["nginx"]

# --- the application's image -----------------------------------------------------------------------------------------
FROM base AS app
LABEL org.opencontainers.image.title="greendock-app" \
      org.opencontainers.image.licenses="MIT"
# A volume mounted on one of these folders is the account's own.
ARG WRITABLE_DIRS=
# hadolint ignore=SC2086
RUN [ -z "$WRITABLE_DIRS" ] || install -d -o app -g app $WRITABLE_DIRS
COPY --from=build /srv/venv /srv/venv
COPY --from=build /srv/app /srv/app
# The healthcheck runs alone, without the interpreter's site packages: see greendock/runtime/healthcheck.py.
COPY --from=build /srv/healthcheck.pyc /srv/healthcheck.pyc
# What is served. An ASGI application (FastAPI, Starlette, Django's asgi.py) also needs GUNICORN_WORKER_CLASS=asgi.
ENV APP_MODULE=app.main:app
ENV PATH=/srv/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    PORT=8000 \
    GREENDOCK_TEMPLATE=1 \
    GUNICORN_WORKER_TMP_DIR=/dev/shm
WORKDIR /srv/app
USER 10001:10001
EXPOSE 8000
# Through the start period the engine asks every second, so that a ready container is healthy at once.
HEALTHCHECK --interval=5s --timeout=5s --start-period=60s --start-interval=1s --retries=3 \
    CMD ["python", "-I", "-S", "/srv/healthcheck.pyc", "--heal"]
# `greendock run` removes variables that are set but empty, which Gunicorn cannot take, and becomes the command.
ENTRYPOINT ["greendock", "run"]
CMD ["gunicorn"]
