# Studies on CPUs with the versions of requirements.lock, without software for GPUs.
#
#   docker build -t aa-ray -f docker/cpu.Dockerfile .
#   docker run --rm --shm-size 2g -v "$PWD:/work" aa-ray table2
FROM python:3.11-slim-bookworm AS build
# Version and commit, which rows record, come from git.
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends git \
    && rm -rf /var/lib/apt/lists/*
RUN python -m venv /opt/aa-ray
ENV PATH=/opt/aa-ray/bin:$PATH PIP_NO_CACHE_DIR=1
RUN pip install torch==2.13.0 --index-url https://download.pytorch.org/whl/cpu
COPY requirements.lock /src/
WORKDIR /src
# The lock has torch for GPUs, and what that needs.
RUN awk '/^[a-z]/ { keep = !/^(cuda|nvidia|torch|triton)/ } keep' requirements.lock > cpu.lock \
    && pip install --require-hashes --no-deps -r cpu.lock && rm cpu.lock
COPY . .
RUN pip install --no-deps .

FROM python:3.11-slim-bookworm
COPY --from=build /opt/aa-ray /opt/aa-ray
RUN useradd --create-home --uid 1000 study && mkdir /work && chown study /work
ENV PATH=/opt/aa-ray/bin:$PATH
USER 1000
WORKDIR /work
ENTRYPOINT ["aa-ray"]
CMD ["--help"]
