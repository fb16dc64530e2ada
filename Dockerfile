FROM python:3.13-slim AS build
WORKDIR /src
RUN python -m venv /opt/rwkv-server
ENV PATH=/opt/rwkv-server/bin:$PATH
# The dependencies first: they change less often than the server.
COPY requirements.lock ./
RUN pip install --no-cache-dir -r requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY server server
RUN pip install --no-cache-dir --no-deps .

FROM python:3.13-slim
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
HEALTHCHECK --interval=10s --timeout=3s --start-period=120s --retries=3 \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/ready', timeout=2)"]
CMD ["rwkv-server", "serve"]
