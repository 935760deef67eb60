"""clang-tidy over every source file, by the rules in .clang-tidy.

    check_tidy.py BUILD      BUILD has compile_commands.json; verdicts that were good are kept in
                             BUILD/tidy, by the contents of the file and all it includes of ours

Files of one folder that are compiled alike go together, as one source that includes them: most of the time
is the libraries' headers (one by one it takes three times as long). Where names collide, each goes alone.
"""
import collections
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
TOGETHER = 8
OF_EACH = ("kRows", "kGroup", "kPops", "kPopsOneOf", "kMoves")  # names that many sources have


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


def commands_of(build):
    """One for each of our files: the one with CAIRN_PLANTS, if there are two, since it compiles more."""
    commands = {}
    for c in json.load(open(os.path.join(build, "compile_commands.json"))):
        path = c["file"]
        if path.startswith(ROOT) and not path.startswith(build) and \
                (path not in commands or "-DCAIRN_PLANTS" in c["command"]):
            commands[path] = NOT_FOR_CLANG.sub("", c["command"])
    assert len(commands) > 40, commands
    return commands


def batches_of(paths, commands):
    alike = collections.defaultdict(list)
    for path in paths:
        words = commands[path].split(" -o ")[0]
        alike[os.path.dirname(path), words].append(path)
    return [group[i:i + TOGETHER] for group in alike.values() for i in range(0, len(group), TOGETHER)]


def main(build):
    cache = os.path.join(build, "tidy")
    os.makedirs(cache, exist_ok=True)
    commands = commands_of(build)
    rules = open(os.path.join(ROOT, ".clang-tidy")).read()
    verdicts = {path: hashlib.sha256((rules + path + digest(path, set())).encode()).hexdigest() for path in commands}
    for stale in set(os.listdir(cache)) - set(verdicts.values()):
        os.remove(os.path.join(cache, stale))
    batches = batches_of(sorted(p for p in commands if not os.path.exists(os.path.join(cache, verdicts[p]))), commands)
    sources = {}  # a batch of several has a source of its own
    for i, batch in enumerate(b for b in batches if len(b) > 1):
        sources[tuple(batch)] = os.path.join(cache, "together%d.cc" % i)
        with open(sources[tuple(batch)], "w") as f:
            for j, path in enumerate(batch):
                f.writelines("#undef %s\n#define %s %s%d\n" % (name, name, name, j) for name in OF_EACH)
                f.write('#include "%s"  // NOLINT(bugprone-suspicious-include)\n' % path)
        commands[sources[tuple(batch)]] = commands[batch[0]].replace(batch[0], sources[tuple(batch)])
    with open(os.path.join(cache, "compile_commands.json"), "w") as f:
        json.dump([{"directory": build, "file": path, "command": c} for path, c in commands.items()], f)

    def tidy(path):
        return subprocess.run(["clang-tidy", "-p", cache, "--quiet", path], capture_output=True, text=True, cwd=ROOT)

    def check(batch):
        """How many of them have findings."""
        out = tidy(sources.get(tuple(batch), batch[0]))
        if out.returncode == 0:
            for path in batch:
                open(os.path.join(cache, verdicts[path]), "w").close()
            return 0
        if len(batch) > 1:
            return sum(check([path]) for path in batch)
        print(out.stdout, out.stderr if not out.stdout else "", flush=True)
        return 1
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        bad = sum(pool.map(check, batches))
    print("%d files, %d with findings" % (len(verdicts), bad))
    return 1 if bad else 0


sys.exit(main(os.path.abspath(sys.argv[1])))
