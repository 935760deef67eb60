"""Clients of S3 beside Python's and npm's: the SDKs of Ruby, Perl and Go (s3_sdks/), libs3, restic, and s3fs, which mounts a
bucket as a directory."""
import filecmp
import json
import os
import shutil
import subprocess
import unittest

from harness import PASSWORD, USER, wait_until
from test_s3_clients import Clients

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "s3_sdks")


class Sdks(Clients):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.env.update(S3_URL=cls.url, S3_HOST=cls.address)

    def job(self, *command, **env):
        done = subprocess.run(command, env=dict(self.env, **env), capture_output=True, text=True, cwd=self.server.directory)
        self.assertEqual((done.returncode, done.stdout), (0, "done\n"), done.stderr[:3000])

    def test_ruby(self):
        self.job("ruby", os.path.join(HERE, "job.rb"))

    def test_perl(self):
        self.job("perl", os.path.join(HERE, "job.pl"))

    def test_go(self):
        self.job("go", "run", os.path.join(HERE, "job.go"), GO111MODULE="off", GOPATH="/usr/share/gocode", GOCACHE=os.path.expanduser("~/.cache/go-build"), GOFLAGS="-p=2")


class Libs3(Clients):
    def libs3(self, *words, **kwargs):
        env = dict(S3_ACCESS_KEY_ID=USER, S3_SECRET_ACCESS_KEY=PASSWORD, S3_HOSTNAME=self.address)
        type(self).env = dict(self.env, **env)
        return self.run_client("s3", "-u", "-r", "us-east-1", *words, **kwargs)

    def test_libs3(self):
        self.libs3("create", "libs3")
        self.libs3("put", "libs3/dir/small", "filename=" + __file__, "contentType=text/x-python", "x-amz-meta-color=red")
        self.libs3("put", "libs3/large", "filename=" + self.path)
        for key, path in (("dir/small", __file__), ("large", self.path)):
            self.libs3("get", "libs3/" + key, "filename=" + self.path + "2")
            self.assertTrue(filecmp.cmp(path, self.path + "2", shallow=False), key)
        self.assertIn("red", self.libs3("head", "libs3/dir/small"))
        self.libs3("copy", "libs3/large", "libs3/copy")
        self.assertEqual(self.s3.head_object(Bucket="libs3", Key="copy")["ContentLength"], 20 << 20)
        listed = self.libs3("list", "libs3")
        for key in ("copy", "dir/small", "large"):
            self.assertIn(key, listed)
            self.libs3("delete", "libs3/" + key)
        self.assertNotIn("Content-Length", self.libs3("head", "libs3/large"))
        self.libs3("delete", "libs3")


class Restic(Clients):
    def test_a_backup_comes_back(self):
        source, back = os.path.join(self.server.directory, "source"), os.path.join(self.server.directory, "back")
        os.makedirs(os.path.join(source, "dir"))
        shutil.copyfile(self.path, os.path.join(source, "large"))
        for i in range(100):
            with open(os.path.join(source, "dir", "%d" % i), "wb") as f:
                f.write(os.urandom(i * 100))

        def restic(*words, **kwargs):
            return self.run_client("restic", "-r", "s3:%s/restic" % self.url, "--no-cache", *words, **kwargs)
        type(self).env = dict(self.env, RESTIC_PASSWORD="p")
        restic("init")
        restic("backup", source)
        with open(os.path.join(source, "dir", "changed"), "wb") as f:
            f.write(b"later")
        restic("backup", source)
        self.assertEqual(len(json.loads(restic("snapshots", "--json"))), 2)
        restic("forget", "--keep-last=1", "--prune")
        restic("check", "--read-data")
        restic("restore", "latest", "--target", back)
        compared = filecmp.dircmp(source, back + source)
        self.assertEqual((compared.diff_files, compared.left_only, compared.subdirs["dir"].diff_files, compared.subdirs["dir"].left_only), ([],) * 4)


@unittest.skipUnless(os.path.exists("/dev/fuse"), "the system has no FUSE")
class S3fs(Clients):
    def test_a_bucket_is_a_directory(self):
        self.s3.create_bucket(Bucket="s3fs")
        self.s3.put_object(Bucket="s3fs", Key="by/s3", Body=b"there")
        at = os.path.join(self.server.directory, "mounted")
        os.mkdir(at)
        process = subprocess.Popen(["s3fs", "s3fs", at, "-f", "-o", "url=%s,use_path_request_style,endpoint=us-east-1" % self.url],
                                   env=dict(self.env, AWSACCESSKEYID=USER, AWSSECRETACCESSKEY=PASSWORD), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        try:
            if not wait_until(lambda: os.path.ismount(at) or process.poll() is not None) or process.poll() is not None:
                process.kill()
                out = process.communicate()[0]
                if b"Operation not permitted" in out or b"permission" in out.lower():
                    self.skipTest("nobody may mount here")
                self.fail(out)
            with open(os.path.join(at, "by", "s3"), "rb") as f:
                self.assertEqual(f.read(), b"there")
            os.makedirs(os.path.join(at, "a/b"))
            shutil.copyfile(self.path, os.path.join(at, "a/b/large"))  # in parts
            self.assertTrue(filecmp.cmp(self.path, os.path.join(at, "a/b/large"), shallow=False))
            with open(os.path.join(at, "a/text"), "w") as f:
                f.write("one\n")
            with open(os.path.join(at, "a/text"), "a") as f:
                f.write("two\n")
            os.rename(os.path.join(at, "a/text"), os.path.join(at, "a/renamed"))
            self.assertEqual(self.s3.get_object(Bucket="s3fs", Key="a/renamed")["Body"].read(), b"one\ntwo\n")
            self.assertEqual(sorted(os.listdir(os.path.join(at, "a"))), ["b", "renamed"])
            os.remove(os.path.join(at, "a/renamed"))
            self.assertEqual(os.listdir(os.path.join(at, "a")), ["b"])
            os.truncate(os.path.join(at, "a/b/large"), 1000)
            self.assertTrue(wait_until(lambda: self.s3.head_object(Bucket="s3fs", Key="a/b/large")["ContentLength"] == 1000))
        finally:
            if process.poll() is None:
                subprocess.run(["fusermount", "-u", "-z", at], check=False)
                try:
                    process.wait(10)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
            process.stdout.close()


if __name__ == "__main__":
    unittest.main()
