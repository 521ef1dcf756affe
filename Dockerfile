# The HTTP service without PyTorch. The model, its index and its metrics are mounted, not copied, so that the
# same Docker image serves every model: see compose.yaml. scripts/docker_image.py runs these steps without Docker.
# The tag of the base image moves with its updates. To build the same bytes again, append @sha256:... to both FROM
# lines: `docker buildx imagetools inspect python:3.11-slim` prints it. It is not here since it has not been looked up
# and tested: no registry of images could be reached where this file was written.
FROM python:3.11-slim AS packages
WORKDIR /app
RUN pip install --no-cache-dir uv==0.13.8
COPY pyproject.toml uv.lock ./
# Bytecode is compiled here, since a read-only container would compile everything at each start.
RUN uv sync --frozen --no-cache --no-dev --extra serve --no-install-project --compile-bytecode

FROM python:3.11-slim
WORKDIR /app
RUN useradd --system --uid 10001 --no-create-home cxr
COPY --from=packages /app/.venv .venv
COPY cxr cxr
COPY service service
ARG REVISION=unknown
ENV PATH=/app/.venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 CXR_REVISION=$REVISION \
    ORT_DISABLE_TELEMETRY=1
USER cxr
EXPOSE 8000
# /health answers 200 without a model, too, and states what is missing.
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/health', timeout=2)"]
CMD ["python", "-m", "service", "--host", "0.0.0.0", "--port", "8000"]
