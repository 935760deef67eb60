"""clang-tidy over every source file, by the rules in .clang-tidy.

    check_tidy.py BUILD      BUILD has compile_commands.json; verdicts that were good are kept in
                             BUILD/tidy, by the contents of the file and all it includes of ours
"""
import concurrent.futures
import hashlib
import json
import os
import re
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
# What GCC is told and Clang does not know.
NOT_FOR_CLANG = re.compile(r" -(ftrivial-auto-var-init=\S+|Werror|Winvalid-pch|include \S+cmake_pch.hxx|"
                           r"Wno-(dangling-pointer|maybe-uninitialized|restrict|stringop-\S+|array-bounds))")


def digest(path, seen):
    """Of the file and what it includes of ours."""
    if path in seen:
        return ""
    seen.add(path)
    text = open(path, encoding="utf-8").read()
    parts = [text]
    for name in re.findall(r'^#include "([^"]+)"', text, re.M):
        if os.path.exists(os.path.join(ROOT, name)):
            parts.append(digest(os.path.join(ROOT, name), seen))
    return hashlib.sha256("".join(parts).encode()).hexdigest()


def main(build):
    cache = os.path.join(build, "tidy")
    os.makedirs(cache, exist_ok=True)
    commands = [c for c in json.load(open(os.path.join(build, "compile_commands.json")))
                if c["file"].startswith(ROOT) and not c["file"].startswith(build)]
    for c in commands:
        c["command"] = NOT_FOR_CLANG.sub("", c["command"])
    with open(os.path.join(cache, "compile_commands.json"), "w") as f:
        json.dump(commands, f)
    rules = open(os.path.join(ROOT, ".clang-tidy")).read()
    good_before = set(os.listdir(cache))
    verdicts = {}

    def check(path):
        verdict = hashlib.sha256((rules + path + digest(path, set())).encode()).hexdigest()
        verdicts[path] = verdict
        if verdict in good_before:
            return True
        out = subprocess.run(["clang-tidy", "-p", cache, "--quiet", path], capture_output=True, text=True, cwd=ROOT)
        if out.returncode == 0:
            open(os.path.join(cache, verdict), "w").close()
        else:
            print(out.stdout, out.stderr if not out.stdout else "", flush=True)
        return out.returncode == 0
    files = sorted({c["file"] for c in commands})
    assert len(files) > 40, files
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        good = list(pool.map(check, files))
    for stale in good_before - set(verdicts.values()) - {"compile_commands.json"}:
        os.remove(os.path.join(cache, stale))
    print("%d files, %d with findings" % (len(files), good.count(False)))
    return 0 if all(good) else 1


sys.exit(main(os.path.abspath(sys.argv[1])))
