"""The record of a run: everything that determines its content, and the id made of it."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, replace
from importlib import metadata
from typing import Any

import cai
from cai.backends.base import Backend, ModelInfo
from cai.data.scratch import UnorderedDigest
from cai.decoding import SETTINGS, Decoding, origins
from cai.digest import digest
from cai.pipeline.config import BuildConfig
from cai.pipeline.snapshot import snapshot
from cai.pipeline.steps import ModelRole
from cai.store.records import Run
from cai.types import Constitution, Prompt, Sampling, SetAside


def new_run(
    constitution: Constitution,
    rows: Iterable[Prompt | SetAside],
    models: Mapping[ModelRole, Backend],
    config: BuildConfig,
    name: str,
    source: str,
) -> tuple[Run, int]:
    """The run and the number of its valid prompts. The order of the rows does not matter."""
    plan = constitution.plan
    with UnorderedDigest() as prompts, UnorderedDigest() as invalid:
        for row in rows:
            if isinstance(row, SetAside):
                invalid.add(digest(row))
            else:
                prompts.add(digest([row.id, row.messages, row.meta]))
        prompts_digest, invalid_digest = prompts.hexdigest(), invalid.hexdigest()
    settings: dict[str, Any] = {
        **asdict(config),
        "rounds": len(constitution.phase("sl")) if plan.draw == "all" else plan.rounds,
        "prompts": {
            "source": source,
            "count": prompts.count,
            "digest": prompts_digest,
            "set_aside": invalid_digest,
        },
    }
    sampling = replace(config.sampling, seed=config.seed)
    return make_run(constitution, models, settings, sampling, name), prompts.count


def make_run(
    constitution: Constitution,
    models: Mapping[ModelRole, Backend],
    settings: Mapping[str, Any],
    sampling: Sampling,
    name: str,
) -> Run:
    """A run of these settings, as JSON has them. Its id covers all but its name and the versions.

    sampling: what is set for every model; its seed is the run's.
    """
    config = {
        **settings,
        "models": {
            role: _model(b.info) | _sampling(sampling, b.info) for role, b in sorted(models.items())
        },
    }
    constitution_snapshot = snapshot(constitution)
    return Run(
        id="r-" + digest([config, constitution_snapshot])[:12],
        name=name,
        config=config,
        constitution=constitution_snapshot,
        seed=sampling.seed,
        versions=_versions(),
    )


def _model(info: ModelInfo) -> dict[str, Any]:
    """A model as a run's configuration records it, with its base and adapter."""
    components = {"base": info.base, "adapter": info.adapter}
    return {
        "name": info.name,
        "fingerprint": info.fingerprint,
        **{
            part: _model(component)
            for part, component in components.items()
            if component is not None
        },
        **({"template": dict(info.template)} if info.template else {}),
        **({"server": dict(info.server)} if info.server else {}),
    }


def _sampling(sampling: Sampling, info: ModelInfo) -> dict[str, Any]:
    """A model's sampling settings, and where each of them comes from.

    Of a model server only those that were asked for: the others are its own to choose.
    """
    if info.server:
        explicit = {n: v for n in SETTINGS if (v := getattr(sampling, n)) is not None}
        return {"sampling": explicit, "sampling_from": dict.fromkeys(explicit, "option")}
    decoding = asdict(Decoding.of(sampling, info.sampling))
    return {"sampling": decoding, "sampling_from": origins(sampling, info.sampling)}


def _versions() -> dict[str, str]:
    """Versions of Python, cai and the installed libraries that a model's text depends on."""
    out = {"cai": cai.__version__, "python": platform.python_version()}
    for package in ("torch", "transformers", "tokenizers", "peft"):
        with suppress(metadata.PackageNotFoundError):
            out[package] = metadata.version(package)
    return out
