# The image of the tracer worker with a model on a GPU: vLLM built for CUDA, from a lock of its own.
#   docker build -f ops/deploy/docker/tracer-gpu.Dockerfile -t agentracer-tracer-gpu:0.1.0 .
#
# Rules: those of streams.Dockerfile, but that gcc stays, with which Triton compiles kernels when it starts; the CUDA
# libraries come with the packages, the driver from the host (NVIDIA's container toolkit). Models and adapters are in
# /models, which is a volume: a hub's downloads go there too.

FROM python:3.11.14-slim-bookworm AS build
ENV UV_NO_CACHE=1 UV_COMPILE_BYTECODE=1 UV_PYTHON_DOWNLOADS=never VIRTUAL_ENV=/opt/agentracer
WORKDIR /build
COPY pyproject.toml requirements.lock requirements.gpu.lock ./
RUN sed -n '/^uv==/,/[^\\]$/p' requirements.lock > uv.txt \
    && pip install --no-cache-dir --disable-pip-version-check --root-user-action=ignore \
        --no-deps --require-hashes -r uv.txt \
    && uv venv "$VIRTUAL_ENV"
# Without the project's configuration: its overrides are those of the CPU's packages.
RUN uv pip install --no-config --no-build --no-deps --require-hashes -r requirements.gpu.lock
COPY . .
RUN uv pip install --no-deps --build-constraints requirements.lock .

FROM python:3.11.14-slim-bookworm
RUN apt-get update \
    && apt-get install -y --no-install-recommends gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/* \
    && install -d -o 10001 -g 10001 /models
COPY --from=build /opt/agentracer /opt/agentracer
ENV PATH=/opt/agentracer/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 HOME=/tmp HF_HOME=/models
USER 10001:10001
WORKDIR /tmp
ENTRYPOINT ["agentracer"]
CMD ["--help"]
