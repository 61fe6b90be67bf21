"""The table of what the vendor's tools say. The messages are those of public reports, shortened."""

from __future__ import annotations

import pytest

from qairt.toolchain.vendor_errors import TABLE, explain

TOLD = {
    "graph too large": [
        "0.0ms [ ERROR ] fa_alloc.cc:3866:ERROR:graph requires estimated allocation of 2347229 KB, limit is 2097152 KB",
        "0.0ms [ ERROR ] graph_prepare.cc:742:ERROR:error during serialize: memory usage too large",
        "[ ERROR ] grdep_multi_serialize.cc:472::ERROR:Serialization error memory usage too large",
    ],
    "no space": ["OSError: [Errno 28] No space left on device: 'model.dlc'"],
    "host memory": ["terminate called after throwing an instance of 'std::bad_alloc'", "numpy: MemoryError"],
    "vendor's Python": [
        "ImportError: libpython3.10.so.1.0: cannot open shared object file: No such file or directory",
        "SyntaxError: invalid syntax",
    ],
    "vendor's packages": ["ModuleNotFoundError: No module named 'yaml'"],
    "system library": [
        "ImportError: libc++.so.1: cannot open shared object file: No such file or directory",
        "qnn-context-binary-generator: error while loading shared libraries: libQnnSystem.so",
    ],
    "unknown option": ["qairt-converter: error: unrecognized arguments: --source_model_input_layout"],
    "mismatching datatypes": ["[ ERROR ] Tensor 221 and 119 have mismatching datatypes. 0x416 != 0x232."],
    "missing encodings": [
        "ERROR - missing encodings for tensor /layers.0/Add_output_0",
        "Encodings not found for hidden_1",
        "no quantization encoding provided for logits",
    ],
    "operation refused": [
        "[ ERROR ] <E> validateNativeOps master op validator rms_norm_0:qti.aisw:RmsNorm failed 3110",
        "[ ERROR ] Op specific validation failed.",
    ],
    "newer binary": ["<E> Using newer context binary on old SDK"],
    "5005": ['[ERROR] "Could not create context from binary for context index = 0 : err 5005"', "failed, err 0x138d"],
    "5004": ["QnnContext_createFromBinary returned 5004"],
    "5000": [
        '[ERROR] "Could not create context from binary for context index = 0 : err 5000"',
        "<E> Failed to create context from binary with err 0x1388",
    ],
    "14001": [
        "0.0ms [ ERROR ] <E> Transport layer setup failed: 14001",
        "QNN SetupBackend failed Failed to create device. Error: 14001",
        '[ERROR] "Failed to create device: 14001"',
    ],
    "1009": ["Could not create context from binary for context index = 0 : err 1009"],
    "1008": ["QnnBackend_create failed with error code 1008"],
    "1007": ["graphExecute failed with error code: 1007"],
    "1002": [
        "[ ERROR ] <E> Failed to finalize graph (id: 1) with err 1002",
        "[ ERROR ] Finalize Graph for Idx = 0 failed with error = 1002",
        "Context create from binary failed for deviceId 0 coreId 0 pdId 0 err 1002",
    ],
}


@pytest.mark.parametrize(("name", "line"), [(name, line) for name, lines in TOLD.items() for line in lines])
def test_each_message_is_explained_by_its_row(name, line):
    found = explain(["INFO - reading the graph", line, "something else"])
    assert found is not None
    assert (found.error.name, found.line) == (name, line)


def test_every_row_is_tried_and_says_what_to_do():
    assert [error.name for error in TABLE] == list(TOLD)
    for error in TABLE:
        assert error.cause
        assert error.remedy
        assert not error.cause.endswith(".")


@pytest.mark.parametrize(
    "line",
    [
        "INFO - graph has 1002 nodes",
        "step 5000 of 14001",
        "wrote 5005 bytes, no errors",
        "Error: 1 of 3 fallbacks to 32-bit is slow: Softmax",
        "failed for 1002 tensors, tried again",
        "QNN error handle: 50051",
        "found encodings for all tensors",
        "",
    ],
)
def test_numbers_and_words_alone_explain_nothing(line):
    assert explain([line]) is None


def test_the_root_of_a_failure_goes_before_the_codes_that_follow_from_it():
    found = explain(
        [
            "[ ERROR ] <E> Failed to finalize graph (id: 1) with err 1002",
            "fa_alloc.cc:2425::ERROR:graph requires estimated allocation of 2741569 KB, limit is 2097152 KB",
            "Encountered error 5005",
        ]
    )
    assert found is not None
    assert found.error.name == "graph too large"
    assert "2,097,152 KB" in found.error.cause
    assert "num_splits" in found.error.remedy
