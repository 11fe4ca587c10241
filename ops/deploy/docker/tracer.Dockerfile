# The image of the tracer worker, with the tracers that need no model.
#   docker build -f ops/deploy/docker/tracer.Dockerfile -t agentracer-tracer:0.1.0 .
#
# Rules: those of streams.Dockerfile. The tracer with a model is tracer-gpu.Dockerfile.

FROM python:3.11.14-slim-bookworm AS build
ENV UV_NO_CACHE=1 UV_COMPILE_BYTECODE=1 UV_PYTHON_DOWNLOADS=never VIRTUAL_ENV=/opt/agentracer
WORKDIR /build
COPY pyproject.toml requirements.lock ./
RUN sed -n '/^uv==/,/[^\\]$/p' requirements.lock > uv.txt \
    && pip install --no-cache-dir --disable-pip-version-check --root-user-action=ignore \
        --no-deps --require-hashes -r uv.txt \
    && uv venv "$VIRTUAL_ENV"
RUN uv pip install --no-build --require-hashes -r pyproject.toml --extra tracer -c requirements.lock
COPY . .
RUN uv pip install --no-deps --build-constraints requirements.lock .

FROM python:3.11.14-slim-bookworm
COPY --from=build /opt/agentracer /opt/agentracer
ENV PATH=/opt/agentracer/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
WORKDIR /tmp
ENTRYPOINT ["agentracer"]
CMD ["--help"]
