"""Runs command lines of az, each a JSON list on a line, in one process, each as /usr/bin/az runs one: az takes a second
to start. The answer to each is a JSON object on a line."""

import io
import json
import os
import runpy
import sys
import traceback

lines, answers = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")
sys.stdin = open(os.devnull)
out, err = io.StringIO(), io.StringIO()
sys.stdout, sys.stderr = out, err  # before az binds its log to them

for line in lines:
    for stream in out, err:
        stream.seek(0)
        stream.truncate()
    sys.argv = ["az", *json.loads(line)]
    try:
        runpy.run_module("azure.cli")
    except SystemExit as end:
        code = end.code
    except Exception:
        traceback.print_exc(file=err)
        code = 1
    answers.write(json.dumps({"code": code or 0, "out": out.getvalue(), "err": err.getvalue()}) + "\n")
    answers.flush()
