"""README's table of S3 operations is what the server has; what is plainly not there says so."""
import glob
import os
import re
import unittest

import s3_operations
from harness import ROOT, Case


MINIOS = {"ListenBucketNotification", "ListenNotification"}  # and in README's chapter on events
# Nobody's but the server's own.
OWN = {"GetBucketEtag", "PutBucketEtag", "GetBucketDefaultTtl", "PutBucketDefaultTtl", "DeleteBucketDefaultTtl", "GetBatch", "FindObjects"}


class Operations(Case):
    def test_the_table_is_what_the_server_has(self):
        made = s3_operations.table(s3_operations.rows_of(self.server))
        with open(os.path.join(ROOT, "README.md"), encoding="utf-8") as f:
            listed = f.read().split(s3_operations.BEGIN)[1].split(s3_operations.END)[0]
        self.assertEqual(listed, made, "run tests/clients/s3_operations.py --write")

    def test_every_row_of_the_server_is_an_operation_of_s3(self):
        """So that the table leaves none out."""
        rows = set()
        for path in glob.glob(os.path.join(ROOT, "gateway", "http", "s3", "*.cc")):
            with open(path, encoding="utf-8") as f:
                rows.update(re.findall(r'(?:^    \{|^    \w+\()"([A-Z][a-z]\w+)", *(?:action::|k[A-Z]|\{|")', f.read(), re.M))
        self.assertGreater(len(rows), 40)
        self.assertEqual(rows - {name for _, name, *_ in s3_operations.operations()}, MINIOS | OWN)


if __name__ == "__main__":
    unittest.main()
