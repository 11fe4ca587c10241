# The image of the streams and sink workers, and of the jobs `topics apply` and `migrate`.
#   docker build -f ops/deploy/docker/streams.Dockerfile -t agentracer-streams:0.1.0 .
#
# Rules: every package comes from requirements.lock, by its hash, what builds ours included; no installer, compiler or
# shell account stays behind; it runs without rights, and writes nowhere but in /tmp.

FROM python:3.11.14-slim-bookworm AS build
ENV UV_NO_CACHE=1 UV_COMPILE_BYTECODE=1 UV_PYTHON_DOWNLOADS=never VIRTUAL_ENV=/opt/agentracer
WORKDIR /build
COPY pyproject.toml requirements.lock ./
# uv, in the lock's own version: it can install one extra of a lock and check the hashes, which pip can't.
RUN sed -n '/^uv==/,/[^\\]$/p' requirements.lock > uv.txt \
    && pip install --no-cache-dir --disable-pip-version-check --root-user-action=ignore \
        --no-deps --require-hashes -r uv.txt \
    && uv venv "$VIRTUAL_ENV"
RUN uv pip install --no-build --require-hashes -r pyproject.toml --extra streams -c requirements.lock
COPY . .
RUN uv pip install --no-deps --build-constraints requirements.lock .

FROM python:3.11.14-slim-bookworm
COPY --from=build /opt/agentracer /opt/agentracer
ENV PATH=/opt/agentracer/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
# Faust makes an empty folder where it is started.
WORKDIR /tmp
ENTRYPOINT ["agentracer"]
CMD ["--help"]
