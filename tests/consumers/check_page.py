"""The Python of a page of the documentation: ``check_page.py <page> <export>``.

Runs its examples one after the other in the folder of the export and prints the names they leave behind.
"""

import json
import os
import re
import sys
from pathlib import Path

page, export = sys.argv[1:]
examples = re.findall(r"^```python\n(.*?)^```", Path(page).read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
if any("torchvision" in code for code in examples):
    import torchvision_without_cuda  # noqa: F401
os.chdir(export)
names = {}
for code in examples:
    if "import ray" not in code:  # not a consumer: it is installed beside the package
        exec(compile(code, page, "exec"), names)
json.dump(sorted(name for name in names if not name.startswith("_")), sys.stdout)
