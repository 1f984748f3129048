# The worker: docker build -t device-status .
# Settings come from the environment, DEVICE_STATUS_* and AWS_*; see .env.example.

FROM python:3.13-slim AS build
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY producers producers
COPY worker worker
RUN python -m venv /opt/device-status \
    && /opt/device-status/bin/pip install --no-cache-dir --constraint constraints.txt '.[worker]'

FROM python:3.13-slim
RUN useradd --system --uid 10001 --home-dir /nonexistent --shell /usr/sbin/nologin device-status
COPY --from=build /opt/device-status /opt/device-status
COPY examples/worker_health.py /opt/device-status/
ENV PATH=/opt/device-status/bin:$PATH PYTHONUNBUFFERED=1
USER 10001
# SIGTERM makes the worker finish the calls under way and give back what it has not begun.
STOPSIGNAL SIGTERM
HEALTHCHECK --start-period=30s --interval=30s --timeout=10s --retries=3 \
    CMD ["python", "/opt/device-status/worker_health.py"]
CMD ["device-status", "worker"]
