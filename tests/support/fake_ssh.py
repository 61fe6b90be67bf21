"""Stand-ins for `ssh` and `scp` that check every argument and act on a folder as if it were another machine."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from fake_phone import FakePhone

_SSH = r'''#!{python}
"""ssh -T -o … HOST COMMAND, or ssh -o … -O exit HOST; scp -q -p -o … SOURCE HOST:TARGET."""
import json, os, shutil, subprocess, sys
root, tool, words = {root!r}, os.path.basename(sys.argv[0]), sys.argv[1:]
with open(root + "/calls", "a") as calls:
    calls.write(json.dumps([tool, *words]) + "\n")
fault = root + "/fault"
if os.path.exists(fault):
    sys.stderr.write(open(fault).read())
    sys.exit(255)
def refuse(why):
    sys.stderr.write(why + "\n")
    sys.exit(2)
options = []
flags = {{"ssh": ["-T"], "scp": ["-q", "-p"]}}[tool]
while words and words[0].startswith("-"):
    flag = words.pop(0)
    if flag == "-o":
        options.append(words.pop(0))
    elif flag == "-O":
        words.pop(0) == "exit" or refuse("-O what?")
        sys.exit(0)
    elif flag in flags:
        flags.remove(flag)
    else:
        refuse("unknown option " + flag)
if flags:
    refuse("missing " + " ".join(flags))
names = sorted(option.split("=")[0] for option in options)
if names != ["BatchMode", "ConnectTimeout", "ControlMaster", "ControlPath", "ControlPersist", "ServerAliveInterval"]:
    refuse("options " + " ".join(names))
environment = json.load(open(root + "/environment")) if os.path.exists(root + "/environment") else {{}}
if tool == "ssh":
    words == ["pi@board", "sh -s"] or refuse("words " + repr(words))
    # A server gives the command to the user's shell, in the home folder, and does not end it when the client goes.
    done = subprocess.Popen([{bin!r} + "/sh", "-c", words[1]], cwd=root + "/home", stdin=sys.stdin,
                            env={{"PATH": {bin!r}, "HOME": root + "/home", **environment}}, start_new_session=True)
    code = done.wait()
    sys.exit(code if code >= 0 else 128 - code)
source, target = words
host, _, path = target.partition(":")
host == "pi@board" and os.path.isfile(source) or refuse("words " + repr(words))
full = root + "/full"
if os.path.exists(full):
    sys.stderr.write('scp: write remote "' + path + '": Failure\n')
    sys.exit(1)
try:
    shutil.copy2(source, os.path.join(root, "home", path))
except OSError as error:
    refuse("scp: dest open " + json.dumps(path) + ": " + error.strerror)
'''


class FakeBoard:
    """A board or laptop that only the stand-ins reach; a Linux board unless its `phone` is changed by `become`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.home = root / "home"
        self.home.mkdir(parents=True)
        self.phone = FakePhone(root / "system", without=("getprop",))
        self.phone.start("true").wait()  # writes its programs
        self.commands = root / "commands"
        self.commands.mkdir()
        program = _SSH.format(python=sys.executable, root=str(root), bin=str(root / "system" / "system" / "bin"))
        for name in ("ssh", "scp"):
            (self.commands / name).write_text(program)
            (self.commands / name).chmod(0o755)

    def become(self, system: str, programs: dict[str, str], environment: dict[str, str]) -> None:
        """Another system."""
        self.phone.system = system
        self.phone.programs = programs
        self.phone.start("true").wait()
        (self.root / "environment").write_text(json.dumps(environment))

    def fail(self, text: str) -> None:
        """From now on ssh prints this and exits with 255."""
        (self.root / "fault").write_text(text)

    @property
    def files(self) -> set[str]:
        return {str(path.relative_to(self.home)) for path in self.home.rglob("*") if path.is_file()}

    @property
    def calls(self) -> list[str]:
        return (self.root / "calls").read_text().splitlines()
