#!/usr/bin/python3
"""Makes tests/golden/store-vN.tar.xz: a small store of this version's making, which every later version
must open (test_process.py). Run once when a format changes; the old ones stay."""
import os
import subprocess
import sys
import time

import golden
from harness import Server, wait_until

server = Server()
golden.write_first(server)
assert server.stop() == 0  # a checkpoint
server.start()
r = server.redis()  # the first segment is cleaned, and a new checkpoint follows
assert wait_until(lambda: r.info("persistence")["checkpoints_written"] > 0)
time.sleep(1)
golden.write_second(server)  # and a tail
server.kill()
subprocess.check_call(["tar", "-C", server.directory, "-cJf", sys.argv[1], "data"],
                      env={**os.environ, "XZ_OPT": "-9"})
server.remove()
