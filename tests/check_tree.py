"""Checks on the tree itself: who may include whom, and that every file is formatted."""
import os
import re
import subprocess
import sys
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
# The dependency table: a folder may include itself and what stands behind it.
MAY_INCLUDE = {
    "core": {"core"},
    "kv": {"core", "kv"},
    "objects": {"core", "objects"},
    # cairn/v1, grpc/reflection, grpc/health: generated from proto/
    "gateway": {"core", "kv", "objects", "gateway", "cairn", "grpc"},
    "tools": {"core", "tools", "cairn"},
    "tests": {"core", "kv", "objects", "gateway", "tools", "tests", "cairn"},
}

# Within a folder, its rooms: each may include itself and those left of it. Files of the folder
# itself may include all of them.
ROOMS = {
    "core": [["base"], ["volume"], ["log"], ["extents"], ["index"], ["store"]],
    "kv": [["types"], ["engine"], ["commands"], ["script"]],
    "gateway": [["net"], ["auth"], ["events"], ["resp", "http", "grpc"]],
}


def sources():
    for top in MAY_INCLUDE:
        for base, _, names in os.walk(os.path.join(ROOT, top)):
            for n in sorted(names):
                if n.endswith((".h", ".cc")):
                    yield top, os.path.join(base, n)


class Tree(unittest.TestCase):
    def test_includes_follow_the_dependency_table(self):
        wrong, seen = [], 0
        for top, path in sources():
            for line in open(path, encoding="utf-8"):
                m = re.match(r'#include "([^"/]+)/', line)
                if m:
                    seen += 1
                    if m.group(1) not in MAY_INCLUDE[top]:
                        wrong.append("%s: %s" % (os.path.relpath(path, ROOT), line.strip()))
        self.assertGreater(seen, 100)
        self.assertEqual(wrong, [])

    def test_includes_follow_the_order_of_rooms(self):
        wrong, seen = [], 0
        for top, path in sources():
            parts = os.path.relpath(path, ROOT).split(os.sep)
            order = {room: i for i, rooms in enumerate(ROOMS.get(top, [])) for room in rooms}
            if top not in ROOMS or len(parts) < 3:
                self.assertTrue(top not in ROOMS or top == "gateway", "%s is in no room" % path)
                continue
            self.assertIn(parts[1], order, path)
            for line in open(path, encoding="utf-8"):
                m = re.match(r'#include "%s/([^"/]+)/' % top, line)
                if m is None:
                    continue
                seen += 1
                if m.group(1) != parts[1] and order[m.group(1)] >= order[parts[1]]:
                    wrong.append("%s: %s" % (os.path.relpath(path, ROOT), line.strip()))
        self.assertGreater(seen, 100)
        self.assertEqual(wrong, [])

    def test_the_parts_of_the_store_do_not_know_it(self):
        whole, wrong = {"store.cc", "store_recovery.cc", "upkeep.cc"}, []
        for _, path in sources():
            if os.path.dirname(path) == os.path.join(ROOT, "core", "store") and os.path.basename(path) not in whole:
                text = re.sub(r"//[^\n]*", "", open(path, encoding="utf-8").read())
                if "store/store.h" in text or re.search(r"\bStore\s*[&*]", text):
                    wrong.append(os.path.relpath(path, ROOT))
        self.assertEqual(wrong, [])

    def test_headers_are_guarded_and_say_what_they_are_for(self):
        for _, path in sources():
            if path.endswith(".h"):
                text = open(path, encoding="utf-8").read()
                self.assertTrue(text.startswith("// "), path)
                self.assertIn("#pragma once", text, path)

    def test_every_file_is_formatted(self):
        files = [p for _, p in sources()]
        out = subprocess.run(["clang-format", "--dry-run", "-Werror", "--style=file"] + files,
                             capture_output=True, text=True, cwd=ROOT)
        self.assertEqual(out.returncode, 0, out.stderr[:2000])

    def test_a_door_looks_a_namespace_up_only_where_its_caller_was_asked(self):
        """gRPC's and S3's operations get their namespaces from the functions that ask authorize() first.
        What a bucket lets web pages of other origins do is answered before it is known who asks; what an object has that a policy
        is about is looked up while authorize() is asked. Where accesses are logged is asked for when it is set, and what
        is logged of a request is told to nobody by its answer."""
        asked = {"grpc/call.cc", "http/s3/service.cc", "http/s3/objects.cc", "http/s3/buckets.cc", "http/s3/cors.cc",
                 "http/s3/request_context.cc", "http/s3/logging.cc", "http/s3/access_log.cc"}
        found = set()
        for _, path in sources():
            name = os.path.relpath(path, os.path.join(ROOT, "gateway"))
            if name.startswith(("grpc/", "http/")):
                with open(path, encoding="utf-8") as f:
                    if re.search(r"store_?\.find_namespace\(", f.read()):
                        found.add(name)
        self.assertEqual(found, asked)


if __name__ == "__main__":
    unittest.main()
