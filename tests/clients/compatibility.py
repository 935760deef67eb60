"""The README's table of compatibility: every command of Redis 7.2 (redis_7_2.txt), and whether it is in the server's
table of commands. `compatibility.py --write` starts the server that CAIRN_BUILD names, asks it, and writes the table into
README.md between its two marks; test_process.py holds README to it."""
import os
import re
import sys
import textwrap

from harness import ROOT, Server, write_readme

BEGIN, END = "<!-- compatibility -->\n", "<!-- /compatibility -->\n"
# What a command that is there does not do.
PARTLY = {
    "cluster": "of one node, with `--cluster-enabled=yes`",
    "copy": "in `MULTI` no value above a log segment", "debug": "what `DEBUG HELP` lists, if `--enable-debug-command`",
    "flushall": "leaves buckets alone", "object": "`IDLETIME` is an error: it is not tracked", "replicaof": "`NO ONE` alone",
    "replconf": "for `redis-cli --rdb` alone", "slaveof": "`NO ONE` alone", "sync": "for `redis-cli --rdb` alone", "shutdown": "no `ABORT`: it does not wait",
}
# What answers that it is not there, as a redis-server without it does, or where that has it, in words of its own.
NO = {
    **dict.fromkeys(("failover", "psync"), "there are no replicas"),
}


def redis_commands():
    path = os.path.join(ROOT, "tests", "clients", "redis_7_2.txt")
    with open(path, encoding="utf-8") as f:
        return [line.split() for line in f if line.strip() and not line.startswith("#")]


def rows_of(server):
    r = server.redis()
    r.response_callbacks.clear()
    names = {c.decode() for c in r.execute_command("COMMAND", "LIST")}
    why = {}
    for _, name in redis_commands():
        if name in names or "|" in name:
            continue
        try:
            r.execute_command(name)
        except Exception as e:
            found = re.search(r"\(([^()]*)\)$", str(e))
            why[name] = found.group(1) if found else ""
    r.close()
    return names, why


def table(names, why):
    out = ["| group | yes | partly | no |", "|---|---|---|---|"]
    commands = redis_commands()
    for group in sorted({g for g, _ in commands}):
        yes, partly, no = [], [], []
        for _, name in [c for c in commands if c[0] == group and "|" not in c[1]]:
            shown = name.upper()
            lacks = [n.split("|")[1].upper() for _, n in commands if n.startswith(name + "|") and n not in names]
            note = PARTLY.get(name)
            if name in NO or name not in names:
                no.append((shown, NO.get(name) or why.get(name, "")))
            elif lacks or note:
                notes = ([note] if note else []) + (["without `%s`" % " ".join(lacks)] if lacks else [])
                partly.append("`%s` (%s)" % (shown, "; ".join(notes)))
            else:
                yes.append("`%s`" % shown)
        reasons = {}
        for shown, reason in no:
            reasons.setdefault(reason, []).append("`%s`" % shown)
        nos = ["%s%s" % (" ".join(n), " (%s)" % reason if reason else "") for reason, n in sorted(reasons.items())]
        out.append("| %s | %s | %s | %s |" % (group, " ".join(yes), ", ".join(partly), ", ".join(nos)))
    known = {n for _, n in commands}
    later = ["`%s`" % n.replace("|", " ").upper() for n in sorted(names - known)]
    return "\n".join(out) + "\n\n" + textwrap.fill("And of later versions, or of Valkey: %s." % " ".join(later), 118, break_on_hyphens=False) + "\n"


def main():
    server = Server()
    try:
        made = table(*rows_of(server))
    finally:
        server.remove()
    if sys.argv[1:] != ["--write"]:
        return print(made, end="")
    write_readme(BEGIN, END, made)


if __name__ == "__main__":
    main()
