"""`genie_config.json`: what Genie needs to know of a model and its binaries.

Source: the schema in `libGenie.so` 1.21, which validates every field.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from qairt.bundle.genie_rope import positional_encoding
from qairt.bundle.windows import GRAPHS, require_one_kind
from qairt.errors import ModelError
from qairt.model.config import DecoderConfig
from qairt.model.names import ALPHA
from qairt.runtime.sampling import Sampling
from qairt.toolchain.genie.config import NO_TOKEN


@dataclass(frozen=True)
class GenieFiles:
    """Paths in the configuration."""

    binaries: Sequence[str]
    """In the order they run."""
    tokenizer: str = "tokenizer.json"
    extensions: str | None = None
    """`htp_backend_ext_config.json`; None for the backend's defaults."""
    lora: GenieLora | None = None


@dataclass(frozen=True)
class GenieLora:
    """The LoRA concurrencies that a dialog can apply, each an adapter to Genie; the base is one of them.

    Graphs that hold the adapters get strengths by name: applying such an adapter sets all of them to 1.
    """

    folders: Mapping[str, str] = field(default_factory=dict)
    """By name, the folder of its values, where these are inputs of the graphs."""
    strengths: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """By name, the strength of every adapter in the graphs, in the order of `lora_alpha`."""

    @property
    def names(self) -> list[str]:
        """What Genie calls the concurrencies."""
        return [*self.folders, *self.strengths]

    def block(self) -> dict[str, object]:
        if self.strengths:
            # Without bin-sections Genie reads memory that it never wrote.
            switched = [
                {"version": 1, "name": name, "bin-sections": [], "alphas": [*each]}
                for name, each in self.strengths.items()
            ]
            return {"version": 1, "lora-version": 2, "alpha-tensor-name": ALPHA, "adapters": switched}
        adapters = [{"version": 1, "name": name, "path": path} for name, path in self.folders.items()]
        return {"version": 1, "lora-version": 1, "adapters": adapters}

    def argument(self, name: str) -> str:
        """A concurrency as genie-t2t-run's `--lora` takes it: its name, then each strength's name and value."""
        strengths = self.strengths.get(name, {})
        return ",".join([name, *(f"{adapter},{strength:g}" for adapter, strength in strengths.items())])


@dataclass(frozen=True)
class GenieHost:
    """Genie's use of the CPU. The defaults suit a phone."""

    threads: int = 3
    cpu_mask: str = "0xe0"
    """The cores it may use, in hexadecimal; by default a phone's three fastest."""
    poll: bool = True
    """Wait for the NPU without sleeping: faster, but takes more power."""


_KV_MULTIPLE = 8
"""By trial with Genie 1.21: right tokens with keys of 16, 40, 48 and 72 values a token, wrong ones with 18, 20, 36."""


def genie_config(
    config: DecoderConfig,
    *,
    context_size: int,
    files: GenieFiles,
    host: GenieHost | None = None,
    sampling: Sampling | None = None,
    adds_bos: bool = True,
    stops: bool = True,
) -> dict[str, object]:
    """The configuration of one dialog, as JSON.

    Args:
        config: the model in the binaries.
        context_size: the longest context length of their graphs.
        files: binaries, tokenizer and backend configuration.
        host: by default a phone's.
        sampling: greedy by default.
        adds_bos: Genie adds the beginning-of-text token to each prompt; see `chat_prompt.genie_affixes`.
        stops: at the model's end-of-text tokens.

    Raises:
        ModelError: the model lacks a property that Genie needs, or has one that Genie cannot express.
    """
    require_one_kind(config, context_size=context_size, program="Genie")
    if (width := config.num_kv_heads * config.head_dim) % _KV_MULTIPLE:
        raise ModelError(
            f"Genie gives wrong answers when num_key_value_heads x head_dim, {width} here,"
            f" is not a multiple of {_KV_MULTIPLE}",
            where=config.family,
            remedy=f"leave export_bundle out of the recipe: {GRAPHS}",
        )
    if not config.eos_token_ids:
        raise ModelError(
            "the model has no end-of-text token, so Genie would never stop",
            where="eos_token_id",
            remedy="set eos_token_id in the model's config.json or generation_config.json",
        )
    if not files.binaries:
        raise ValueError("no binaries")
    eos = list(config.eos_token_ids) if stops else [NO_TOKEN]
    bos = config.bos_token_id if adds_bos else None
    return {
        "dialog": {
            "version": 1,
            "type": "basic",
            "context": {
                "version": 1,
                "size": context_size,
                "n-vocab": config.vocab_size,
                "bos-token": NO_TOKEN if bos is None else bos,
                "eos-token": eos[0] if len(eos) == 1 else eos,
            },
            "sampler": _sampler(sampling or Sampling(), config.vocab_size),
            "tokenizer": {"version": 1, "path": files.tokenizer},
            "engine": _engine(config, context_size, files, host or GenieHost()),
        }
    }


def _engine(config: DecoderConfig, context_size: int, files: GenieFiles, host: GenieHost) -> dict[str, object]:
    htp: dict[str, object] = {
        "version": 1,
        "use-mmap": True,
        "spill-fill-bufsize": 0,
        "mmap-budget": 0,
        "poll": host.poll,
        "cpu-mask": host.cpu_mask,
        "kv-dim": config.head_dim,
        "allow-async-init": False,
    }
    binary: dict[str, object] = {"version": 1, "ctx-bins": list(files.binaries)}
    if files.lora is not None:
        binary["lora"] = files.lora.block()
    model: dict[str, object] = {"version": 1, "type": "binary", "binary": binary}
    if config.rope_scaling is None:
        htp |= {"pos-id-dim": config.rotated // 2, "rope-theta": float(config.rope_theta)}
    else:
        # Genie accepts either these two or a positional encoding, not both
        model["positional-encoding"] = positional_encoding(config, context_size=context_size)
    backend: dict[str, object] = {"version": 1, "type": "QnnHtp", "QnnHtp": htp}
    if files.extensions is not None:
        backend["extensions"] = files.extensions
    return {"version": 1, "n-threads": host.threads, "backend": backend, "model": model}


def _sampler(sampling: Sampling, vocab_size: int) -> dict[str, object]:
    if sampling.temperature == 0:
        return {"version": 1, "seed": 0, "temp": 0.0, "top-k": 1, "top-p": 1.0, "greedy": True}
    return {
        "version": 1,
        "seed": sampling.seed,
        "temp": sampling.temperature,
        "top-k": sampling.top_k or vocab_size,
        "top-p": sampling.top_p,
        "greedy": False,
    }
