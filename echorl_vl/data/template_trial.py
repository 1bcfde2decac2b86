"""One rendering of a template in a process of its own, which a limit on memory and processor time can end.

Within the process that trains nothing could end `'a' * 10**11`. What else goes wrong with a template is of no interest
here: the environment is only like that of the tokenizer, so errors are left to the real rendering.

Run as a script: reads {"template", "variables"} as JSON, prints "memory", "size" or nothing.
"""

from __future__ import annotations

import sys

if __name__ == "__main__":
    sys.path.pop(0)  # this folder: its modules are not to stand before others of their names

import json
import re
import signal
import subprocess
from functools import lru_cache

CPU_SECONDS = 5
WALL_SECONDS = 60  # a process that sleeps, or a machine that is very busy
MEMORY_BYTES = 1 << 30
MAX_CHARACTERS = 1_000_000
"""More than this around a question is no template but a mistake; no model reads it."""


@lru_cache(maxsize=64)
def trial_fault(template: str, variables: str) -> str | None:
    """What keeps a template from being used: too slow, too much memory, too long a text; None where nothing does.

    Args:
        variables: a JSON object, what the template is rendered with.
    """
    given = json.dumps({"template": template, "variables": json.loads(variables), "seconds": CPU_SECONDS})
    try:
        done = subprocess.run(
            [sys.executable, __file__], input=given.encode(), capture_output=True, timeout=WALL_SECONDS
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
        # a tag of transformers' own, which marks the assistant's part
        text = re.sub(r"\{%-?\s*(end)?generation\s*-?%\}", "", given["template"])
        if len(environment.from_string(text).render(**given["variables"])) > MAX_CHARACTERS:
            print("size")
    except MemoryError:
        print("memory")
    except Exception:
        pass


if __name__ == "__main__":
    _main()
