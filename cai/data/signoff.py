"""The sign-off of a run's data: who reviewed it, and exactly what they signed.

`audit/signoff.yaml` holds the digests of all files of rows and of the verdicts, the sample and the
thresholds. It is not a cryptographic signature: it shows that data, verdicts and the file itself
have not changed since, not who wrote it.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from cai.constitution.source import read_source, resolve_scalar
from cai.data.files import write_whole
from cai.data.manifest import Manifest
from cai.data.verdicts import FOLDER, VerdictFile
from cai.digest import digest, file_digest
from cai.errors import ContentError, DataError, UsageError

NAME = "signoff.yaml"
SAMPLE = "sample.json"
FORMAT = "cai-signoff/1"
_KEYS = {"run", "data", "verdicts", "reviewed", "signer", "at"}
_DATA = re.compile(r"(sft|preferences|labels)(\.test)?\.(jsonl|parquet)")


def data_files(run: Path) -> list[str]:
    """Names of the files of rows in a run's folder."""
    return sorted(p.name for p in run.iterdir() if _DATA.fullmatch(p.name))


def subject(run: Path) -> dict[str, Any]:
    """The digests that a sign-off covers: the files of rows, the sample and the verdicts.

    Raises `DataError` if the folder holds no run.
    """
    manifest = Manifest.read(run)
    file, sample = VerdictFile(run).path, run / FOLDER / SAMPLE
    return {
        "run": manifest.run["id"],
        "constitution": manifest.constitution.get("digest") or "",
        "data": {name: file_digest(run / name) for name in data_files(run)},
        "sample_file": file_digest(sample) if sample.is_file() else "",
        "verdicts": file_digest(file) if file.is_file() else "",
    }


def write_signoff(run: Path, values: dict[str, Any]) -> Path:
    """Write a sign-off of the folder's current content; return its path.

    values: what the signer adds, in reading order. Raises `StoreError`.
    """
    body = {"format": FORMAT, **subject(run), **values}
    body["digest"] = digest(body)
    path = run / FOLDER / NAME
    text = yaml.dump(body, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)
    write_whole(path, text)
    return path


def refuse_signed(run: Path, run_id: str, *, parquet: bool) -> None:
    """Raise `UsageError` if an export would change data that is signed off.

    run: the folder. run_id, parquet: of the export. The data of an equal run is equal.
    """
    path = run / FOLDER / NAME
    if not path.is_file():
        return
    try:
        before = Manifest.read(run).run["id"]
    except DataError:
        before = None
    had_parquet = any(name.endswith(".parquet") for name in data_files(run))
    if before != run_id or parquet != had_parquet:
        raise UsageError(
            f"{run} holds data that is signed off ({path.name}), and this build would replace it",
            hint="Name another folder with --out, or pass --replace-signed.",
        )


class _Dumper(yaml.SafeDumper):
    """Quotes every text that our YAML reader would take for another type."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    style = None if resolve_scalar(text) == text else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style)


_Dumper.add_representer(str, _text)


def read_signoff(run: Path) -> dict[str, Any]:
    """The sign-off of a run's folder, verified against its current content.

    Raises `DataError` if there is none, if it was edited, and if data or verdicts have changed
    since; the message names them.
    """
    path = run / FOLDER / NAME
    if not path.is_file():
        raise DataError(f"{run} is not signed off", hint=f"Audit it, then: cai audit sign {run}")
    source, problems = read_source(path)
    if source is None:
        raise ContentError(problems)
    values = source.value
    again = f"Look at it again, then: cai audit sign {run}"
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        raise DataError(f"{path} is not a sign-off in the format {FORMAT}", hint=again)
    if values.get("digest") != digest({k: v for k, v in values.items() if k != "digest"}):
        raise DataError(f"{path} was edited after it was signed", hint=again)
    if not set(values) >= _KEYS or not isinstance(values["reviewed"], dict):
        raise DataError(f"{path} lacks {', '.join(sorted(_KEYS - set(values)))}", hint=again)
    changed = _changed(values, subject(run))
    if changed:
        raise DataError(
            f"the sign-off of {run} is stale: {', '.join(changed)} changed since", hint=again
        )
    return values


def _changed(signed: dict[str, Any], now: dict[str, Any]) -> list[str]:
    before, after = signed.get("data") or {}, now["data"]
    out = [name for name in sorted({*before, *after}) if before.get(name) != after.get(name)]
    names = {
        "run": "the run", "constitution": "its constitution", "verdicts": "the verdicts",
        "sample_file": "the sample",
    }  # fmt: skip
    return out + [what for key, what in names.items() if signed.get(key) != now[key]]
