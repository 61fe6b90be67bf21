"""Parts on a phone give what they give on the CPU, graph by graph and chained."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from fake_adb import serving
from fake_device_sdk import write_net_run
from fake_phone import HOME, FakePhone
from tiny_parts import make_parts, measured_encodings

from qairt.device.adb import AdbDevice
from qairt.device.delivery import Folder
from qairt.device.parts import DeviceParts, GraphLocation
from qairt.errors import DeviceError, GraphError
from qairt.runtime.chain import PartChain
from qairt.verify.graph import StoredGraph

IDS = np.random.default_rng(0).integers(3, 250, 32).tolist()
PLACE = f"{HOME}/qairt/toy-1"


@pytest.fixture(scope="module")
def parts(tmp_path_factory, parameters):
    encodings = measured_encodings(parameters, IDS)
    directory = tmp_path_factory.mktemp("quantized")
    return make_parts(directory, parameters, ars=[1, 8], cl=32, num_splits=3, encodings=encodings)


@pytest.fixture
def phone(tmp_path) -> FakePhone:
    return FakePhone(tmp_path / "phone")


@pytest.fixture
def on_phone(parts, phone, tmp_path):
    """Binaries of two graphs each on a phone, with a program that runs them."""
    table: dict[str, list[object]] = {}
    graphs: dict[tuple[int, int, int], GraphLocation] = {}
    files: dict[str, Path] = {}
    for index in (1, 2, 3):
        binary = f"part_{index}.bin"
        files[f"bundle/{binary}"] = tmp_path / binary
        files[f"bundle/{binary}"].write_text(binary)
        table[binary] = []
        for place, ar in enumerate((8, 1)):
            part = parts[ar][index - 1]
            table[binary].append([str(part.onnx), {spec.name: spec.dtype for spec in part.signature.inputs}])
            graphs[ar, 32, index] = GraphLocation(binary, place, 2)
    (tmp_path / "table.json").write_text(json.dumps(table))
    write_net_run(tmp_path / "qnn-net-run", tmp_path / "table.json")
    (tmp_path / "libQnnHtp.so").write_text("library")
    files |= {f"tool/{name}": tmp_path / name for name in ("qnn-net-run", "libQnnHtp.so")}
    with serving(phone) as server:
        folder = Folder(AdbDevice(phone.serial, port=server.port), PLACE)
        folder.deliver(files, hashing=True)
        yield DeviceParts(folder, graphs)


def test_a_chain_on_the_phone_is_one_on_the_cpu(parts, config, on_phone, phone):
    with PartChain(parts, config, on_phone.open) as there, PartChain(parts, config) as here:
        np.testing.assert_array_equal(there.prefill(IDS[:9]), here.prefill(IDS[:9]))
        np.testing.assert_array_equal(there.decode(IDS[9]), here.decode(IDS[9]))
    assert {path.name for path in phone.here(PLACE).iterdir()} == {"bundle", "tool"}


def test_verify_can_open_one(parts, on_phone):
    graph = StoredGraph(parts[1][0], on_phone.open, compare_with_cpu=True)
    graph.ready()
    outputs = graph.run({"input_ids": np.asarray([[5]], np.int32)})
    for name, values in outputs.items():
        np.testing.assert_array_equal(values, graph.cpu_outputs()[name])
    graph.close()


def fault(runner) -> DeviceError:
    with pytest.raises(DeviceError) as caught:
        runner.run({"input_ids": np.asarray([[5]], np.int32)})
    assert "ar1-cl32_1_of_3" in str(caught.value.where)
    assert caught.value.remedy
    return caught.value


def test_what_goes_wrong_names_part_and_tensor(parts, on_phone, phone):
    program = phone.here(f"{PLACE}/tool/qnn-net-run")
    runner = on_phone.open(parts[1][0])

    def write(text: str) -> None:
        program.write_text(f"#!/bin/sh\n{text}\n")

    write("echo 'Error: using newer context binary on old SDK' >&2; exit 6")
    error = fault(runner)
    assert error.what == ("qnn-net-run failed (6) on the device: Error: using newer context binary on old SDK")
    assert str(error.remedy).startswith("the binary was compiled by a newer SDK")
    write("exit 0")
    output = parts[1][0].signature.outputs[0].name
    assert fault(runner).what == f"qnn-net-run gave no output {output}, but nothing"
    write(
        f'while [ "$1" != --output_dir ]; do shift; done; mkdir -p "$2/Result_0"; echo x > "$2/Result_0/{output}.raw"'
    )
    assert f"the output {output} has 2 bytes, 128 were expected" in fault(runner).what
    program.unlink()
    with pytest.raises(DeviceError, match="qnn-net-run cannot be started"):
        runner.run({"input_ids": np.asarray([[5]], np.int32)})
    assert {path.name for path in phone.here(PLACE).iterdir()} == {"bundle", "tool"}


def test_a_part_that_no_binary_has(parts, on_phone):
    with pytest.raises(GraphError, match="no binary of the bundle has this graph"):
        DeviceParts(on_phone._folder, {}).open(parts[1][0])
