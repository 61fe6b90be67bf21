"""The device files of an SDK, with shell scripts as programs that check their arguments strictly."""

from __future__ import annotations

import sys
from pathlib import Path

GENIE = r"""#!/bin/sh
# genie-t2t-run: -c FILE --prompt_file FILE --profile FILE, in a folder with what the configuration names.
[ "$#" = 6 ] && [ "$1" = -c ] && [ "$3" = --prompt_file ] && [ "$5" = --profile ] || { echo "usage" >&2; exit 64; }
case "$LD_LIBRARY_PATH" in */tool) ;; *) echo "CANNOT LINK EXECUTABLE: libGenie.so not found" >&2; exit 1;; esac
case "$ADSP_LIBRARY_PATH" in "$LD_LIBRARY_PATH;"*) ;; *) echo "Failed to create device: 14001"; exit 1;; esac
for library in libGenie.so libQnnHtp.so libQnnSystem.so libQnnHtpV75Stub.so libQnnHtpV75Skel.so; do
  [ -f "$LD_LIBRARY_PATH/$library" ] || { echo "dlopen failed: $library" >&2; exit 1; }
done
for file in $(grep -o '[A-Za-z0-9_./-]*\.bin' "$2") tokenizer.json; do
  [ -s "$file" ] || { echo "Failed to open $file"; exit 1; }
done
[ ! -e "$6" ] || { echo "the profile exists"; exit 1; }
echo "Using libGenie.so version 1.21.0"
echo
echo "[INFO]  \"Using create From Binary\""
[ -e "$LD_LIBRARY_PATH/crash" ] && kill -SEGV $$
printf '[PROMPT]: '; cat "$4"; echo; echo
printf '[BEGIN]: '
if [ -e "$LD_LIBRARY_PATH/slow" ]; then while :; do printf 'more '; sleep 0.1; done; fi
printf 'The answer to '; tr a-z A-Z < "$4" | tail -n 1; printf ' is [END] of it.[END]\n'
cat > "$6" <<'PROFILE'
{"header": {"header_version": {"major": 0, "minor": 1, "patch": 0}}, "metadata": {"timestamp": 1},
 "components": [{"name": "dialog0", "type": "dialog", "events": [
  {"type": "GenieDialog_create", "duration": 900000, "init-time": {"value": 850000, "unit": "us"}},
  {"type": "GenieDialog_query", "duration": 500000, "num-prompt-tokens": {"value": 9, "unit": ""},
   "prompt-processing-rate": {"value": 90.5, "unit": "toks/sec"},
   "time-to-first-token": {"value": 100000, "unit": "us"},
   "num-generated-tokens": {"value": 8, "unit": ""}, "token-generation-rate": {"value": 20.25, "unit": "toks/sec"},
   "token-generation-time": {"value": 395061, "unit": "us"}}]}]}
PROFILE
"""

_LIBRARIES = (
    "libGenie.so",
    "libQnnHtp.so",
    "libQnnHtpNetRunExtensions.so",
    "libQnnSystem.so",
    "libQnnHtpV73Stub.so",
    "libQnnHtpV75Stub.so",
)


def make_device_sdk(root: Path, *, platform: str = "aarch64-android", version: str = "2.51.0.260101") -> Path:
    """An SDK in `root`, with what qairt looks for on this machine too."""
    (root / "bin" / "x86_64-linux-clang").mkdir(parents=True)
    (root / "bin" / platform).mkdir(parents=True)
    (root / "lib" / platform).mkdir(parents=True)
    (root / "sdk.yaml").write_text(f"product: QAIRT\nversion: {version}\n")
    for name in _LIBRARIES:
        (root / "lib" / platform / name).write_bytes(name.encode() * 1000)
    for arch in (73, 75):
        place = root / "lib" / f"hexagon-v{arch}" / "unsigned"
        place.mkdir(parents=True)
        (place / f"libQnnHtpV{arch}Skel.so").write_bytes(b"skel" * 5000)
    for name, text in (("genie-t2t-run", GENIE),):
        (root / "bin" / platform / name).write_text(text)
    return root


_NET_RUN = '''#!{python}
"""qnn-net-run: runs the quantized ONNX that a table names for each graph of a binary; integers in, integers out."""
import argparse, json, os, sys
import numpy as np, onnxruntime
parser = argparse.ArgumentParser(allow_abbrev=False)
for option in ("backend", "retrieve_context", "input_list", "output_dir"):
    parser.add_argument("--" + option, required=True)
for option in ("use_native_input_files", "use_native_output_files"):
    parser.add_argument("--" + option, action="store_true", required=True)
words = parser.parse_args()
os.path.isfile(words.backend) or sys.exit("backend " + words.backend + " cannot be loaded")
os.path.getsize(words.retrieve_context) or sys.exit("the binary is empty")
graphs = json.load(open({table!r}))[words.retrieve_context]
lists = words.input_list.split(",")
len(lists) == len(graphs) or sys.exit("one input list for each graph")
for (onnx, dtypes), place in zip(graphs, lists):
    if place == "__":
        continue
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.disable_quant_qdq", "1")  # on floats between DQ and Q, as CpuPart
    options.add_session_config_entry("session.disable_prepacking", "1")  # the same sums, too
    session = onnxruntime.InferenceSession(onnx, options, providers=["CPUExecutionProvider"])
    shapes = {{node.name: node.shape for node in session.get_inputs()}}
    inputs = {{}}
    for pair in open(place).read().split():
        name, path = pair.split(":=")
        inputs[name] = np.fromfile(path, dtypes[name]).reshape(shapes[name])
    names = [node.name for node in session.get_outputs()]
    folder = words.output_dir + "/Result_0"
    os.makedirs(folder)
    for name, values in zip(names, session.run(names, inputs)):
        values.tofile(folder + "/" + name + "_native.raw")
print("Finished Executing Graphs")
'''


def write_net_run(path: Path, table: Path) -> None:
    """A `qnn-net-run` that knows the graphs of some binaries.

    Args:
        table: JSON: by the binary's name, its graphs in order, each `[ONNX, {input: dtype}]`.
    """
    path.write_text(_NET_RUN.format(python=sys.executable, table=str(table)))
