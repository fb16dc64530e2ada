# The base by its digest, which a tag that moves does not change: 3.13.15 on Debian 13, of all
# platforms. To renew it, in both places: docker buildx imagetools inspect python:3.13-slim
FROM python:3.13-slim@sha256:7c61056e61ac89e852de05f3dc6fa51a6dd2181797bceed46aa725dd7cb2cd3b AS build
WORKDIR /src
# What builds the package stays out of the image. Nothing is installed but what the locks have the
# hashes of.
COPY requirements-build.lock ./
RUN python -m venv /opt/build \
    && /opt/build/bin/pip install --no-cache-dir --require-hashes -r requirements-build.lock
RUN python -m venv /opt/rwkv-server
ENV PATH=/opt/rwkv-server/bin:$PATH
# The dependencies first: they change less often than the server.
COPY requirements.lock ./
RUN pip install --no-cache-dir --require-hashes -r requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY rwkv_server.py ./
COPY server server
RUN /opt/build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /opt/wheels . \
    && pip install --no-cache-dir --no-deps --no-index /opt/wheels/*.whl

FROM python:3.13-slim@sha256:7c61056e61ac89e852de05f3dc6fa51a6dd2181797bceed46aa725dd7cb2cd3b
RUN useradd --uid 10001 --create-home rwkv \
    && install -d -o rwkv -g rwkv /var/cache/rwkv-server /var/lib/rwkv-server /models
COPY --from=build /opt/rwkv-server /opt/rwkv-server
COPY config/server.toml /etc/rwkv-server/server.toml
# It listens on all addresses of the container, so it wants RWKV_SERVER_HTTP_API_KEY, a keys file, or
# RWKV_SERVER_HTTP_ALLOW_NO_KEYS=true.
# Kernels are compiled for the CPU that runs them, weights packed, states cached: keep the cache in a
# volume. What clients keep (named states, responses, files and batches) is in another one, in the
# folder of this name below XDG_DATA_HOME.
ENV PATH=/opt/rwkv-server/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    RWKV_SERVER_CONFIG=/etc/rwkv-server/server.toml \
    RWKV_SERVER_HTTP_HOST=0.0.0.0 \
    RWKV_SERVER_ENGINE_CACHE_DIR=/var/cache/rwkv-server \
    XDG_DATA_HOME=/var/lib
USER rwkv
WORKDIR /models
VOLUME /var/cache/rwkv-server /var/lib/rwkv-server
EXPOSE 8000
# -I: nothing is imported from /models. No urllib: it would ask a proxy that the environment names.
HEALTHCHECK --interval=10s --timeout=3s --start-period=120s --retries=3 \
    CMD ["python", "-I", "-c", "import http.client as h; c = h.HTTPConnection('127.0.0.1', 8000, timeout=2); c.request('GET', '/ready'); exit(c.getresponse().status != 200)"]
CMD ["rwkv-server", "serve"]
