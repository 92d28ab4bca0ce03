#!/usr/bin/env bash
# Asks a PostgreSQL 15 for what expressions.expected holds. Usage: PGHOST=… PGPORT=… PGUSER=… ./regenerate.sh
# The database must have encoding UTF8 and the locale C.UTF-8: text sorts by code points and has case beyond ASCII.
set -eu
cd "$(dirname "$0")"
python3 - <<'PY'
import subprocess, sys
lines = [l.rstrip("\n") for l in open("expressions.txt")]
with open("expressions.expected", "w") as out:
    for line in lines:
        if not line or line.startswith("#"):
            continue
        sql = "\\set VERBOSITY verbose\n\\pset null NULL\nset timezone='UTC';\nselect pg_typeof(%s), %s;\n" % (line, line)
        run = subprocess.run(["psql", "-X", "-qAt", "-F", "|"], input=sql, capture_output=True, text=True)
        if run.stderr:
            head = run.stderr.splitlines()
            error = next(l for l in head if "ERROR:" in l).split("ERROR:  ")[1]
            answer = "!" + error
        else:
            answer = run.stdout.rstrip("\n").replace("\\", "\\\\").replace("\n", "\\n")
        out.write(answer + "\n")
PY
