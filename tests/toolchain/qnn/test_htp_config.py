"""The HTP configuration written for a binary."""

from __future__ import annotations

import json

from qairt.toolchain.base import BinarySpec
from qairt.toolchain.qnn.htp_config import write_configs
from qairt.toolchain.soc import SOCS


def test_it_names_the_graphs_the_chip_and_each_other(tmp_path):
    backend, generator = write_configs(
        tmp_path,
        BinarySpec("weight_sharing_model_2_of_4.serialized.bin", SOCS["SM8650"], 3),
        ["__ar1_cl512_2_of_4", "ar128_cl512_2_of_4"],
    )
    assert backend.name == "weight_sharing_model_2_of_4_htp_config.json"
    assert json.loads(backend.read_text()) == {
        "graphs": [{"graph_names": ["__ar1_cl512_2_of_4", "ar128_cl512_2_of_4"], "vtcm_mb": 8, "O": 3}],
        "devices": [
            {
                "soc_model": 57,
                "dsp_arch": "v75",
                "cores": [{"core_id": 0, "perf_profile": "burst", "rpc_control_latency": 100}],
            }
        ],
        "memory": {"mem_type": "shared_buffer"},
        "context": {"weight_sharing_enabled": True},
    }
    assert json.loads(generator.read_text()) == {
        "backend_extensions": {
            "shared_library_path": "libQnnHtpNetRunExtensions.so",
            "config_file_path": "weight_sharing_model_2_of_4_htp_config.json",
        },
        "arguments": {"binary_file": "weight_sharing_model_2_of_4", "input_output_tensor_mem_type": "memhandle"},
    }


def test_for_the_sdks_generator_it_says_threads_precision_and_domain_too(tmp_path):
    backend, generator = write_configs(
        tmp_path,
        BinarySpec("weight_sharing_model_1_of_4.serialized.bin", SOCS["SM8750"], 2),
        ["ar1-cl512_1_of_4"],
        for_sdk=True,
    )
    assert json.loads(backend.read_text()) == {
        "graphs": [
            {
                "graph_names": ["ar1-cl512_1_of_4"],
                "vtcm_mb": 8,
                "O": 2,
                "fp16_relaxed_precision": 0,
                "hvx_threads": 4,
            }
        ],
        "devices": [
            {
                "soc_id": 69,
                "dsp_arch": "v79",
                "cores": [{"core_id": 0, "perf_profile": "burst", "rpc_control_latency": 100}],
                "pd_session": "unsigned",
            }
        ],
        "memory": {"mem_type": "shared_buffer"},
        "context": {"weight_sharing_enabled": False},
    }
    assert json.loads(generator.read_text()) == {
        "backend_extensions": {
            "shared_library_path": "libQnnHtpNetRunExtensions.so",
            "config_file_path": "weight_sharing_model_1_of_4_htp_config.json",
        }
    }
