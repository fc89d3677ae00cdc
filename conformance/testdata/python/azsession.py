"""Runs command lines of az, each a JSON list on a line, in one process: az takes seconds to start."""

import io
import json
import os
import sys

answers = os.fdopen(os.dup(1), "w")
sys.stdout = sys.stderr = err = io.StringIO()  # before az binds its log to it

from azure.cli.core import get_default_cli

for line in sys.stdin:
    cli, out = get_default_cli(), io.StringIO()
    err.seek(0)
    err.truncate()
    try:
        code = cli.invoke(json.loads(line), out_file=out)
    except SystemExit as end:
        code = end.code
    error = getattr(cli.result, "error", None)
    answers.write(json.dumps({"code": code or 0, "out": out.getvalue(), "err": err.getvalue() + str(error or "")}) + "\n")
    answers.flush()
