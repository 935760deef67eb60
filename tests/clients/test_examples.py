"""The commonest uses, as somebody would write them: each of examples/ and examples_s3/ runs to its end."""
import os
import subprocess
import sys
import unittest

from harness import PASSWORD, USER, Case

HERE = os.path.dirname(os.path.abspath(__file__))


class Examples(Case):
    def run_example(self, name):
        env = dict(os.environ, REDIS_URL="redis://:%s@127.0.0.1:%d/0" % (PASSWORD, self.server.resp),
                   AWS_ENDPOINT_URL="http://127.0.0.1:%d" % self.server.http, AWS_DEFAULT_REGION="us-east-1",
                   AWS_ACCESS_KEY_ID=USER, AWS_SECRET_ACCESS_KEY=PASSWORD,
                   AWS_CONFIG_FILE=os.devnull, AWS_SHARED_CREDENTIALS_FILE=os.devnull)
        out = subprocess.run([sys.executable, "-W", "ignore", os.path.join(HERE, name)], capture_output=True,
                             env=env, text=True, timeout=120)
        self.assertEqual((out.returncode, out.stderr), (0, ""), name)
        self.assertTrue(out.stdout)


for folder in ("examples", "examples_s3"):
    for file in sorted(os.listdir(os.path.join(HERE, folder))):
        if file.endswith(".py"):
            setattr(Examples, "test_%s_%s" % (folder, file[:-3]),
                    lambda self, name=os.path.join(folder, file): self.run_example(name))

if __name__ == "__main__":
    unittest.main()
