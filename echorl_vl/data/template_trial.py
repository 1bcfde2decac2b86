"""Render a template once in its own process, under a limit of memory and processor time.

Nothing could stop `'a' * 10**11` in the training process. Other errors are ignored here and left to the real rendering,
since this environment only resembles the tokenizer's.

Run as a script, it reads {"template", "variables", "seconds"} as JSON and prints "memory", "size" or nothing.
"""

from __future__ import annotations

import sys

if __name__ == "__main__":
    sys.path.pop(0)  # this folder, whose modules would hide others of the same name

import json
import re
import signal
import subprocess
from functools import lru_cache

CPU_SECONDS = 5
WALL_SECONDS = 60  # for a process that sleeps, or a very busy machine
MEMORY_BYTES = 1 << 30
MAX_CHARACTERS = 1_000_000
"""Limit of a rendered prompt, far more than any model reads."""


@lru_cache(maxsize=64)
def trial_fault(template: str, variables: str) -> str | None:
    """Why a template can't be used (time, memory or length of the text), None if it can.

    Args:
        template: the text of the template.
        variables: its variables, as a JSON object.
    """
    request = json.dumps({"template": template, "variables": json.loads(variables), "seconds": CPU_SECONDS})
    try:
        done = subprocess.run(
            [sys.executable, __file__], input=request.encode(), capture_output=True, timeout=WALL_SECONDS
        )
    except subprocess.TimeoutExpired:
        return f"takes more than {WALL_SECONDS} s for one short question"
    if done.returncode in (-signal.SIGXCPU, -signal.SIGKILL):
        return f"takes more than {CPU_SECONDS} s for one short question"
    return {
        b"memory": f"takes more than {MEMORY_BYTES >> 20} MB of memory for one short question",
        b"size": f"writes more than {MAX_CHARACTERS:,} characters around one short question",
    }.get(done.stdout.strip())


def _limit(seconds: int) -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _main() -> None:
    from jinja2 import TemplateError
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    def refuse(message: str = "") -> None:
        raise TemplateError(message)

    given = json.load(sys.stdin)
    _limit(given["seconds"])
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.globals |= {"raise_exception": refuse, "strftime_now": str}
    try:
        # a tag of transformers, which marks the assistant's part
        text = re.sub(r"\{%-?\s*(end)?generation\s*-?%\}", "", given["template"])
        if len(environment.from_string(text).render(**given["variables"])) > MAX_CHARACTERS:
            print("size")
    except MemoryError:
        print("memory")
    except Exception:
        pass


if __name__ == "__main__":
    _main()
