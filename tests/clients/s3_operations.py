"""The README's table of S3: every operation of Amazon's API reference (s3_api.txt), and whether the server has it and all that
a request for it may carry. `s3_operations.py --write` starts the server that CAIRN_BUILD names, asks it for each, and writes
the table into README.md between its two marks; test_s3_operations.py holds README to it."""
import http.client
import os
import sys

from harness import ROOT, Server, write_readme
from test_s3 import signed

BEGIN, END = "<!-- S3 operations -->\n", "<!-- /S3 operations -->\n"
GROUPS = {"buckets": "buckets", "settings": "settings of buckets", "objects": "objects", "uploads": "multipart uploads"}
# Why something is not there: by operation, or by what selects it in the query.
AMAZON = "a service of Amazon's beside S3"
ONE_SITE = "there is one site"
WHY = {
    "ListDirectoryBuckets": "there are no directory buckets", "session": "there are no directory buckets",
    "WriteGetObjectResponse": "for functions of AWS Lambda", "torrent": "Amazon serves none any more", "select": "closed to new users at Amazon, too",
    **dict.fromkeys(("analytics", "inventory", "metrics", "metadataConfiguration", "metadataTable", "metadataInventoryTable",
                     "metadataJournalTable"), AMAZON),
    "intelligent-tiering": "there is one storage class", "restore": "not yet", "abac": "not yet",
    "replication": ONE_SITE, "accelerate": ONE_SITE,
    "UpdateObjectEncryption": "a copy of an object onto itself does it",
    **dict.fromkeys(("notification", "versioning",
                     "annotation", "renameObject"), "not yet"),
}
# A value for what must have one; and values that stand for a feature.
VALUES = {"x-amz-copy-source": "/s3-operations/key", "x-amz-object-attributes": "ETag", "content-type": "multipart/form-data", "origin": "https://a",
          "if-match": '"a"', "if-none-match": '"a"', "if-modified-since": "Thu, 01 Jan 2015 00:00:00 GMT", "x-amz-checksum-mode": "ENABLED",
          "if-unmodified-since": "Thu, 01 Jan 2099 00:00:00 GMT", "x-amz-tagging-directive": "COPY", "x-amz-metadata-directive": "COPY",
          "x-amz-checksum-algorithm": "SHA256", "x-amz-optional-object-attributes": "RestoreStatus", "x-amz-object-ownership": "BucketOwnerEnforced"}
TRIED = {"x-amz-server-side-encryption": [("AES256", "encryption"), ("aws:kms:dsse", "`aws:kms:dsse`")],
         "x-amz-acl": [("private", "`x-amz-acl`"), ("aws-exec-read", "`aws-exec-read`")],
         "x-amz-storage-class": [("STANDARD", "`x-amz-storage-class`"), ("STANDARD_IA", "storage classes but STANDARD")],
         "x-amz-object-ownership": [("ObjectWriter", "owners of objects")]}
# Several headers are one feature.
FEATURES = [("x-amz-grant-", "grants"), ("server-side-encryption", "encryption"),
            ("x-amz-mfa", "MFA"), ("website-redirect", "redirects of websites"), ("x-amz-if-match-", "conditions on size and time"),
            ("x-amz-optional-object-attributes", "`RestoreStatus`"), ("write-offset", "appending"), ("bucket-namespace", "namespaces of accounts"),
            *((kind, "checksums MD5, SHA512 and XXHASH") for kind in ("checksum-md5", "checksum-sha512", "checksum-xxhash"))]


def operations():
    """Group, name, method, scope, query, header that it needs, all that it may carry."""
    with open(os.path.join(ROOT, "tests", "clients", "s3_api.txt"), encoding="utf-8") as f:
        for line in f:
            if line.startswith("#"):
                continue
            group, name, method, target, *carried = line.split()
            scope, _, query = target.partition("?")
            needed = carried.pop(0)[1:] if carried and carried[0].startswith("+") else None
            yield group, name, method, scope, query, needed, carried


class Asker:
    """Asks for operations in a bucket of its own, by requests that do nothing even where they are served."""
    paths = {"service": "/", "bucket": "/s3-operations", "object": "/s3-operations/key"}

    def __init__(self, server):
        self.server = server
        self.connection = http.client.HTTPConnection("127.0.0.1", server.http, timeout=30)
        server.s3().create_bucket(Bucket="s3-operations")
        server.s3().put_object(Bucket="s3-operations", Key="key", Body=b"value")

    def has(self, method, scope, query, headers):
        pairs = "&".join(sorted((p if "=" in p else p + "=" for p in query.split("&") if p), key=lambda p: p.split("=")))
        sent, *_ = signed(method, self.server.http, self.paths[scope], pairs, headers)
        if method in ("PUT", "POST"):
            sent["content-length"] = "0"
        self.connection.request(method, self.paths[scope] + ("?" + pairs if pairs else ""), headers=sent)
        answer = self.connection.getresponse()
        body = answer.read()
        if b"<Code>SignatureDoesNotMatch<" in body:
            raise AssertionError("%s %s %s: %s" % (method, scope, query, body))  # it was not asked at all
        if answer.status == 501 and method != "HEAD" and b"<Code>NotImplemented</Code>" not in body:
            raise AssertionError("%s %s %s is not there, and says %s" % (method, scope, query, body))
        return answer.status != 501

    def lacks(self, method, scope, query, headers, carried):
        """What of `carried` it does not have, as features."""
        found = []
        for name in carried:
            for value, feature in TRIED.get(name, [(VALUES.get(name, "1"), None)]):
                more = "&".join(p for p in (query, "%s=null" % name[1:] if name.startswith("?") else "") if p)
                if self.has(method, scope, more, headers if name.startswith("?") else {**headers, name: value}):
                    continue
                known = [f for part, f in FEATURES if part in name]
                found.append(feature or (known + ["`%s`" % name])[0])
                break
        return found


def rows_of(server):
    """By name: None, if the server has it whole; what it lacks of it; or False, if it is not there."""
    asker, rows = Asker(server), {}
    for _, name, method, scope, query, needed, carried in operations():
        headers = {needed: VALUES.get(needed, "a")} if needed else {}
        if not asker.has(method, scope, query, headers):
            rows[name] = False
            continue
        lacks = asker.lacks(method, scope, query, headers, carried)
        rows[name] = "without " + ", ".join(sorted(set(lacks), key=lacks.index)) if lacks else None
    asker.connection.close()
    # What can be asked for and never set.
    selectors = {(scope, query.split("&")[0]): name for _, name, method, scope, query, _, _ in operations() if method == "PUT" and query}
    selectors["bucket", "policyStatus"] = selectors["bucket", "policy"]
    for _, name, method, scope, query, _, _ in operations():
        setter = selectors.get((scope, query.split("&")[0]))
        if method == "GET" and setter and rows[name] is None and rows[setter] is False:
            rows[name] = "cannot be set"
    return rows


def reason(name, query):
    return WHY.get(name) or WHY[query.split("&")[0].split("=")[0]]


def listed(found):
    """Names in backquotes, those of one note together."""
    notes = {}
    for name, note in found:
        notes.setdefault(note, []).append("`%s`" % name)
    return ", ".join("%s%s" % (" ".join(names), " (%s)" % note if note else "") for note, names in notes.items())


def table(rows):
    out = ["| | yes | partly | no |", "|---|---|---|---|"]
    for group, title in GROUPS.items():
        found = [(name, rows[name], query) for g, name, _, _, query, _, _ in operations() if g == group]
        yes = " ".join("`%s`" % name for name, row, _ in found if row is None)
        partly = listed([(name, row) for name, row, _ in found if row])
        no = listed([(name, reason(name, query)) for name, row, query in found if row is False])
        out.append("| %s | %s | %s | %s |" % (title, yes, partly, no))
    return "\n".join(out) + "\n"


def main():
    server = Server()
    try:
        made = table(rows_of(server))
    finally:
        server.remove()
    if sys.argv[1:] != ["--write"]:
        return print(made, end="")
    write_readme(BEGIN, END, made)


if __name__ == "__main__":
    main()
