"""The stages from a model to a device bundle, one file each. Importing this package registers them.

A stage is thin: it lists its items and leaves the work to `model`, `quant`, `graph`, `toolchain` and `bundle`.
"""

from qairt.stages.convert import Convert
from qairt.stages.export import Export
from qairt.stages.export_bundle import ExportBundle
from qairt.stages.float_profile.nsys import Nsys
from qairt.stages.float_profile.torch_profiler import TorchProfiler
from qairt.stages.generate_context_binary import GenerateContextBinary
from qairt.stages.lora_adapters import LoraAdapters
from qairt.stages.mha_to_sha_conversion import MhaToShaConversion
from qairt.stages.model_loading import ModelLoading
from qairt.stages.prepare_exports import PrepareExports
from qairt.stages.quantization import Quantization
from qairt.stages.quantize import Quantize
from qairt.stages.split_model import SplitModel

__all__ = [
    "Convert",
    "Export",
    "ExportBundle",
    "GenerateContextBinary",
    "LoraAdapters",
    "MhaToShaConversion",
    "ModelLoading",
    "Nsys",
    "PrepareExports",
    "Quantization",
    "Quantize",
    "SplitModel",
    "TorchProfiler",
]
