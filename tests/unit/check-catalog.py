#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Every message id of src/shared/catalog-ids.h is used by the code and has an entry in the catalog, and no entry is
without an id; journalctl can read the catalog."""

import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

top = pathlib.Path(sys.argv[1])
ids = dict(re.findall(r'#define (CATALOG_\w+) "([0-9a-f]{32})"', (top / 'src/shared/catalog-ids.h').read_text()))
catalog = top / 'catalog/hero-compute.catalog'
entries = re.findall(r'^-- ([0-9a-f]{32})$', catalog.read_text(), re.M)
code = ''.join(p.read_text() for p in (top / 'src').rglob('*.c'))
problems = []

if len(set(ids.values())) != len(ids):
    problems.append('two message ids are the same')
for name, value in ids.items():
    if value not in entries:
        problems.append(f'{name} has no entry in {catalog.name}')
    if name not in code:
        problems.append(f'{name} is used nowhere')
problems += [f'the entry {e} belongs to no message id' for e in entries if e not in ids.values()]
if shutil.which('journalctl'):
    with tempfile.TemporaryDirectory() as root:
        d = pathlib.Path(root, 'usr/lib/systemd/catalog')
        d.mkdir(parents=True)
        shutil.copy(catalog, d)
        r = subprocess.run(['journalctl', f'--root={root}', '--update-catalog'], capture_output=True, text=True)
        if r.returncode != 0 or r.stderr.strip():
            problems.append(f'journalctl does not like the catalog: {r.stderr}')
for p in problems:
    print(p, file=sys.stderr)
sys.exit(1 if problems or not ids else 0)
