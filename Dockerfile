# The application's image: Gunicorn, Greendock and your code. Build it from the repository's root.
ARG PYTHON_IMAGE=python:3.14-slim

# --- build: everything that needs a package index or a compiler stays in this stage -------------------------------
FROM ${PYTHON_IMAGE} AS build
# certs/ may hold your company proxy's CA (*.crt); the stage then trusts it. It is empty otherwise.
COPY certs/ /usr/local/share/ca-certificates/greendock/
RUN update-ca-certificates
# uv reads the system's certificates, so that a proxy that re-signs HTTPS works.
ENV SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt \
    UV_COMPILE_BYTECODE=1 \
    UV_LINK_MODE=copy \
    UV_NO_PROGRESS=1 \
    UV_PROJECT_ENVIRONMENT=/srv/venv \
    UV_PYTHON_DOWNLOADS=never
RUN python -m venv /opt/uv && /opt/uv/bin/pip install --no-cache-dir --disable-pip-version-check "uv==0.13.8"
WORKDIR /build
# Dependencies first: this layer is built again only when they change. uv checks every hash in uv.lock.
COPY pyproject.toml uv.lock ./
COPY packages/ packages/
RUN /opt/uv/bin/uv sync --locked --no-default-groups --no-editable \
    && python -c "import py_compile; py_compile.compile('packages/greendock/src/greendock/runtime/healthcheck.py', '/srv/healthcheck.pyc', doraise=True)"
COPY gunicorn.conf.py /srv/app/
COPY app/ /srv/app/app/
RUN python -m compileall -q -j 0 /srv/app

# --- the image ------------------------------------------------------------------------------------------------------
FROM ${PYTHON_IMAGE}
LABEL org.opencontainers.image.title="greendock-app" \
      org.opencontainers.image.licenses="MIT"
RUN groupadd --system --gid 10001 app && useradd --system --uid 10001 --gid app --no-create-home --home-dir /srv/app app \
    && install -d -o app -g app /run/greendock
COPY --from=build /srv/venv /srv/venv
COPY --from=build /srv/app /srv/app
# The healthcheck runs alone, without the interpreter's site packages: see greendock/runtime/healthcheck.py.
COPY --from=build /srv/healthcheck.pyc /srv/healthcheck.pyc
ENV PATH=/srv/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    PORT=8000 \
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
