"""Where the files of a model are, and which of them are read: a folder, a single file, or a repository on the hub."""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from huggingface_hub import HfApi, hf_hub_download, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    HTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from magicstyle_core.errors import ModelError

NETWORKS = ("unet", "vae")
ENCODERS = ("text_encoder", "text_encoder_2")
STEMS = ("diffusion_pytorch_model", "model", "pytorch_model")  # diffusers', transformers' new and old ones
WEIGHTS = re.compile(
    rf"(?P<stem>{'|'.join(STEMS)})(?:\.(?P<variant>[\w]+))??(?:-(?P<shard>\d+)-of-(?P<shards>\d+))?"
    r"(?:\.(?P<old_variant>[\w]+))??\.(?P<kind>safetensors|bin)"
)
SMALL_FILES = re.compile(r"model_index\.json|null_prompt\.safetensors|\w+/[\w.]+\.(json|txt)|tokenizer\w*/\w+\.model")
HUB_FILE = re.compile(
    r"(?:https://huggingface\.co/)?(?P<repo>[\w.-]+/[\w.-]+)/(?:(?:blob|resolve)/(?P<revision>[^/]+)/)?(?P<file>.+\.safetensors)"
)


class Weights(NamedTuple):
    """One complete set of a network's weights, as `from_pretrained` asks for it."""

    variant: str | None
    safetensors: bool
    files: tuple[str, ...]  # with the index of shards


def find(name: str, *, revision: str | None, variant: str | None, half: bool, prompt: str) -> Path:
    """The folder or the single file of a model: itself, the cached copy of a hub id, or its download.

    What the cache holds in part is completed; what it holds in full is taken without asking the hub.

    Args:
        half: prefer weights in fp16, where there are both.
        prompt: if it is empty, some models need no text encoder.

    Raises:
        ModelError: there is none, or it cannot be fetched.
    """
    path = Path(name).expanduser()
    if path.exists():
        return path
    if path.is_absolute() or name.startswith((".", "~")):
        raise ModelError(f"There is no {name}; give a folder, a .safetensors file, a hub id, 'sd15' or 'mini'.")
    try:
        if match := HUB_FILE.fullmatch(name):
            return _fetched_file(match["repo"], match["file"], revision or match["revision"])
        return _fetched_folder(name, revision, variant, half, prompt)
    except HFValidationError as error:
        raise ModelError(f"{name!r} is no folder, no file and no hub id; give one, or 'sd15' or 'mini'.") from error
    except GatedRepoError as error:
        raise ModelError(
            f"{name} is gated: accept its terms at https://huggingface.co/{name}, then give your token in HF_TOKEN "
            "or by `hf auth login`, and start again."
        ) from error
    except RevisionNotFoundError as error:
        raise ModelError(f"{name} has no revision {revision!r}; look at its branches and tags on the hub.") from error
    except RepositoryNotFoundError as error:
        raise ModelError(
            f"The hub has no model {name}, or it is private; check the spelling, or give your token in HF_TOKEN."
        ) from error
    except (
        HTTPError,
        OSError,
        RuntimeError,
    ) as error:  # the last where one thread's failure closes the client of others
        reason = first_sentence(error.__cause__ or error)
        raise ModelError(f"The download of {name} broke off ({reason}); start again, whole files are kept.") from error


def needed_parts(folder: Path, prompt: str) -> list[str]:
    """The networks of a model that have to be loaded."""
    index = read_json(folder / "model_index.json") if (folder / "model_index.json").is_file() else {}
    embedded = (folder / "null_prompt.safetensors").is_file() or index.get("force_zeros_for_empty_prompt", False)
    if embedded and not prompt:
        return list(NETWORKS)
    listed = [part for part in ENCODERS if index.get(part, [None])[0] is not None or (folder / part).is_dir()]
    return [*NETWORKS, *(listed or ENCODERS[:1])]


def missing_files(folder: Path, prompt: str, variant: str | None, half: bool) -> list[str]:
    """What a folder lacks, in part because a download or a copy broke off."""
    files = list_files(folder)
    missing = [f"{part}/config.json" for part in needed_parts(folder, prompt) if f"{part}/config.json" not in files]
    if "scheduler/scheduler_config.json" not in files:
        missing.append("scheduler/scheduler_config.json")
    for part in needed_parts(folder, prompt):
        try:
            choose_weights(files, part, variant, half)
        except ModelError:
            missing.append(f"{part}/{STEMS[0] if part in NETWORKS else STEMS[1]}.safetensors")
    return missing


def choose_weights(files: Collection[str], part: str, variant: str | None, half: bool) -> Weights:
    """The weights of a part to read, out of those that are there: safetensors before .bin, complete sets alone.

    Raises:
        ModelError: there are none, or none of that variant.
    """
    sets: dict[tuple[str | None, bool], list[tuple[str, int]]] = {}
    for file in files:
        match = WEIGHTS.fullmatch(file.removeprefix(f"{part}/")) if file.startswith(f"{part}/") else None
        if match:
            key = (match["variant"] or match["old_variant"], match["kind"] == "safetensors")
            sets.setdefault(key, []).append((file, int(match["shards"] or 1)))
    complete = {}
    for (name, safetensors), found in sets.items():
        sharded = sorted(file for file, shards in found if shards > 1)
        whole = [file for file, shards in found if shards == 1]
        indices = [file for file in files if _is_index(file, part, name, safetensors)]
        if whole:
            complete[name, safetensors] = tuple(whole)
        elif len(sharded) == max(shards for _, shards in found) and indices:
            complete[name, safetensors] = (*sharded, *indices)
    if variant:
        names = [variant] if part == "unet" else [variant, None]  # repositories often have variants of the UNet alone
    else:
        names = ["fp16", None] if half else [None, "fp16"]
    for safetensors in (True, False):
        for name in names:
            if (name, safetensors) in complete:
                return Weights(name, safetensors, complete[name, safetensors])
    there = ", ".join(sorted({name or "none" for name, _ in complete})) or "no complete ones"
    asked = f" of the variant {variant!r}" if variant else ""
    raise ModelError(f"{part} has no weights{asked}; there are: {there}.")


def _is_index(file: str, part: str, variant: str | None, safetensors: bool) -> bool:
    """Whether this lists the shards of such weights, in the new or the old spelling."""
    kind = "safetensors" if safetensors else "bin"
    found = re.fullmatch(rf"{part}/\w+(?:\.(\w+))?\.{kind}\.index(?:\.(\w+))?\.json", file)
    return found is not None and (found[1] or found[2]) == variant


def list_files(folder: Path) -> list[str]:
    """Names relative to the folder, of itself and its parts."""
    files = [*folder.glob("*"), *folder.glob("*/*")]
    return [file.relative_to(folder).as_posix() for file in files if file.is_file()]


def read_json(file: Path) -> dict[str, Any]:
    """Raises ModelError where the file is no JSON object."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise ModelError(
            f"{file.parent.name}/{file.name} cannot be read ({first_sentence(error)}); fetch it anew."
        ) from error
    if not isinstance(content, dict):
        raise ModelError(f"{file.parent.name}/{file.name} is no JSON object; fetch it anew.")
    return content


def _fetched_folder(name: str, revision: str | None, variant: str | None, half: bool, prompt: str) -> Path:
    cached, missing = None, ["all of it"]
    with suppress(LocalEntryNotFoundError):
        cached = Path(hf_hub_download(name, "model_index.json", revision=revision, local_files_only=True)).parent
        missing = missing_files(cached, prompt, variant, half)
    if cached and not missing:
        return cached
    files = _listed(name, revision, f"{name} is not all in the cache (missing: {', '.join(missing)})")
    if "model_index.json" not in files:
        raise ModelError(
            f"{name} holds no diffusers pipeline (no model_index.json); give the hub id of one, or one of its "
            ".safetensors files as OWNER/NAME/FILE."
        )
    small = [file for file in files if SMALL_FILES.fullmatch(file)]
    folder = Path(snapshot_download(name, revision=revision, allow_patterns=small))
    there = {file.split("/")[0] for file in files}
    parts = [part for part in needed_parts(folder, prompt) if part in there]
    weights = [file for part in parts for file in choose_weights(files, part, variant, half).files]
    return Path(snapshot_download(name, revision=revision, allow_patterns=[*small, *weights]))


def _fetched_file(repo: str, file: str, revision: str | None) -> Path:
    with suppress(LocalEntryNotFoundError):
        return Path(hf_hub_download(repo, file, revision=revision, local_files_only=True))
    if file not in _listed(repo, revision, f"{repo}/{file} is not in the cache"):
        raise ModelError(f"{repo} holds no file {file}; look at its files on the hub.")
    return Path(hf_hub_download(repo, file, revision=revision))


def _listed(name: str, revision: str | None, lacking: str) -> list[str]:
    """The files of a repository."""
    try:
        found = HfApi().model_info(name, revision=revision).siblings or []  # unlike a listing, it tries once
        return [file.rfilename for file in found]
    except HfHubHTTPError:
        raise  # the hub did answer
    except (HTTPError, OfflineModeIsEnabled) as error:
        raise ModelError(
            f"{lacking}, and the hub cannot be reached. Connect once, give a folder or a file, or use mini."
        ) from error


def first_sentence(error: BaseException) -> str:
    """Of what a library says, to be put into a sentence of ours."""
    return (str(error).strip() or type(error).__name__).splitlines()[0].split(". ")[0].rstrip(".")
