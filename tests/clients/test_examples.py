"""The commonest uses, as somebody would write them: each of examples/ runs to its end."""
import os
import subprocess
import sys
import unittest

from harness import PASSWORD, Case

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "examples")


class Examples(Case):
    def run_example(self, name):
        url = "redis://:%s@127.0.0.1:%d/0" % (PASSWORD, self.server.resp)
        out = subprocess.run([sys.executable, "-W", "ignore", os.path.join(HERE, name)], capture_output=True,
                             env=dict(os.environ, REDIS_URL=url), text=True, timeout=120)
        self.assertEqual((out.returncode, out.stderr), (0, ""), name)
        self.assertTrue(out.stdout)


for file in sorted(os.listdir(HERE)):
    if file.endswith(".py"):
        setattr(Examples, "test_" + file[:-3], lambda self, file=file: self.run_example(file))

if __name__ == "__main__":
    unittest.main()
