# The web page of lipsync_jax on a CPU.
#
#     docker build -t lipsync .
#     docker run --rm -p 127.0.0.1:7860:7860 -v lipsync:/work lipsync
#
# Any other command: docker run --rm -v "$PWD:/work" lipsync dub --face face.mp4 --audio voice.wav
# FFmpeg is inside PyAV's wheel, so the image needs no packages of Debian.

FROM python:3.12-slim-bookworm AS build
ARG EXTRAS=web,live
WORKDIR /source
RUN python -m venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
COPY setup.py pyproject.toml README.md LICENSE RESPONSIBLE_USE.md ./
COPY lipsync_jax ./lipsync_jax
COPY configs ./configs
COPY data_prep ./data_prep
RUN pip install ".[${EXTRAS}]"

FROM python:3.12-slim-bookworm
ARG VERSION=0.2.0
ARG SOURCE=
LABEL org.opencontainers.image.title="lipsync_jax" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.source="${SOURCE}"
COPY --from=build /opt/venv /opt/venv
RUN useradd --uid 10001 --no-create-home --home-dir /work lipsync \
    && install --directory --owner=10001 --group=10001 /work
# Compiled programs and face detections are kept in the volume; the rest of the image may be read-only.
ENV PATH=/opt/venv/bin:$PATH \
    HOME=/work \
    XDG_CACHE_HOME=/work/.cache \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
USER 10001
WORKDIR /work
VOLUME /work
EXPOSE 7860
# 401: the page asks for a password.
HEALTHCHECK --interval=30s --timeout=5s --start-period=3m \
    CMD ["python", "-c", "import http.client, sys; c = http.client.HTTPConnection('127.0.0.1', 7860, timeout=4); c.request('GET', '/api/health'); sys.exit(c.getresponse().status not in (200, 401))"]
ENTRYPOINT ["lipsync"]
# Inside of a container the page must listen on all addresses; publish the port on 127.0.0.1 only.
CMD ["web", "--host", "0.0.0.0", "--without-password", "--work", "/work/web"]
