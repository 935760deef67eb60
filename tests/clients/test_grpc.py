"""The gRPC door: whatever number, key or stream a client sends, there is one true answer."""
import unittest

import grpc

from harness import Case, Server, wait_until

CODE = grpc.StatusCode
PATIENCE = 120  # seconds until a call counts as hung, on however busy a machine
BOUNDARIES = sorted({0, 1} | {(1 << bits) + d for bits in (31, 32, 63) for d in (-1, 0, 1)} | {(1 << 64) - 1})


def resident_mb(server):
    for line in open("/proc/%d/status" % server.process.pid):
        if line.startswith("VmRSS"):
            return int(line.split()[1]) >> 10


class GrpcCase(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.rpc = cls.server.grpc_stubs()

    def call(self, method, request):
        return method(request, metadata=self.rpc.metadata, timeout=PATIENCE)

    def code(self, method, request):
        """The code of the answer, which is OK if there is one."""
        try:
            self.call(method, request)
            return CODE.OK
        except grpc.RpcError as e:
            return e.code()


class Lengths(GrpcCase):
    # size_bytes = 2^64-1 wrapped to a capacity of 0: a loop that outlived deadline and SIGTERM.
    def test_an_upload_of_any_announced_size_ends(self):
        pb = self.rpc.objects_pb
        before = resident_mb(self.server)
        for size in BOUNDARIES:
            header = pb.UploadHeader(key=self.rpc.key("db0", "up"), size_bytes=size)
            parts = [pb.UploadRequest(header=header), pb.UploadRequest(data=b"x" * 100000)]
            code = self.code(self.rpc.objects.Upload, iter(parts))
            want = CODE.OK if size == 0 else CODE.INVALID_ARGUMENT if size < 1 << 43 else CODE.RESOURCE_EXHAUSTED
            self.assertEqual(code, want, size)
        self.assertLess(resident_mb(self.server), before + 200)

    def test_any_range_of_a_download_is_what_python_cuts(self):
        data = bytes(range(256)) * 500
        for name, size in (("inline", 1000), ("blob", len(data))):
            self.rpc.upload("db0", name, data[:size])
            for offset in BOUNDARIES + [size - 1, size, size + 1]:
                for length in BOUNDARIES + [size - 1, size]:
                    if offset >= size:
                        request = self.rpc.objects_pb.DownloadRequest(key=self.rpc.key("db0", name), offset=offset, length=length)
                        with self.assertRaises(grpc.RpcError) as e:
                            list(self.call(self.rpc.objects.Download, request))
                        self.assertEqual(e.exception.code(), CODE.OUT_OF_RANGE)
                        continue
                    end = size if length == 0 else min(size, offset + length)
                    self.assertEqual(self.rpc.download("db0", name, offset=offset, length=length), data[offset:end])

    def test_no_length_over_redis_makes_the_store_endless(self):
        r = self.server.redis()
        r.config_set("proto-max-bulk-len", (1 << 63) - 1)
        for n in BOUNDARIES:
            if (1 << 42) < n < 1 << 63:
                for words in (("SETRANGE", "far", n, "x"), ("SETRANGE", "far", n - 10, "x")):
                    with self.assertRaises(Exception):
                        r.execute_command(*words)
        self.assertEqual(r.exists("far"), 0)
        r.config_set("proto-max-bulk-len", 512 << 20)

    def test_the_server_ends_when_it_is_told_to(self):
        server = Server()
        try:
            rpc = server.grpc_stubs()
            pb = rpc.objects_pb
            header = pb.UploadHeader(key=rpc.key("db0", "up"), size_bytes=(1 << 64) - 1)
            calls = [rpc.objects.Upload.future(iter([pb.UploadRequest(header=header), pb.UploadRequest(data=b"x" * 9)]),
                                               metadata=rpc.metadata) for _ in range(4)]
            self.assertTrue(all(c.exception() for c in calls))
            self.assertEqual(server.stop(), 0)
        finally:
            server.remove()


if __name__ == "__main__":
    unittest.main()
