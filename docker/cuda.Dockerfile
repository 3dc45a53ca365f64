# Studies on NVIDIA GPUs with the versions of requirements.lock. The host needs a driver for CUDA 13
# and the NVIDIA Container Toolkit; CUDA itself comes with torch.
#
#   docker build -t aa-ray-cuda -f docker/cuda.Dockerfile .
#   docker run --rm --gpus all --shm-size 8g -v "$PWD:/work" aa-ray-cuda doctor
FROM python:3.11-slim-bookworm AS build
# Version and commit, which rows record, come from git.
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends git \
    && rm -rf /var/lib/apt/lists/*
RUN python -m venv /opt/aa-ray
ENV PATH=/opt/aa-ray/bin:$PATH PIP_NO_CACHE_DIR=1
COPY requirements.lock /src/
WORKDIR /src
RUN pip install --require-hashes --no-deps -r requirements.lock
COPY . .
RUN pip install --no-deps .

FROM python:3.11-slim-bookworm
# Triton compiles its kernels when they are first used.
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build /opt/aa-ray /opt/aa-ray
RUN useradd --create-home --uid 1000 study && mkdir /work && chown study /work
ENV PATH=/opt/aa-ray/bin:$PATH NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER 1000
WORKDIR /work
ENTRYPOINT ["aa-ray"]
CMD ["--help"]
