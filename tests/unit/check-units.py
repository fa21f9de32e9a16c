#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The unit files load without a complaint, and the sandboxes stay as tight as they are.

    check-units.py UNIT_FILE...

The programs are not installed when this runs, so in a copy of the units each is replaced by one that is."""

import os
import re
import shutil
import subprocess
import sys
import tempfile

SKIPPED = 77

# What a boot starts. Orderings are only looked at among units that are started together.
BOOT = """[Unit]
Wants=basic.target slices.target hero-computed.service hero-imaged.service hero-metricsd.service hero-rpcd.service
After=basic.target
"""

# Exposure as `systemd-analyze security` counts it, times ten. The daemon may make mount namespaces and change
# ids and has the host's network to itself, which is most of what is left of it. Tighten when it gets better.
THRESHOLDS = {'hero-computed.service': 38, 'hero-imaged.service': 15, 'hero-metricsd.service': 15, 'hero-image-fetch@.service': 20,
              'hero-jwks-fetch@.service': 15, 'hero-rpcd.service': 12}


def copy_runnable(units, directory):
    for unit in units:
        with open(unit, encoding='utf-8') as f:
            text = re.sub(r'^(Exec\w+=)/usr/(?:lib/hero-compute/\S+|bin/heroctl)', r'\1/bin/true', f.read(), flags=re.M)
        with open(os.path.join(directory, os.path.basename(unit)), 'w', encoding='utf-8') as f:
            f.write(text)
    with open(os.path.join(directory, 'hero-boot.target'), 'w', encoding='utf-8') as f:
        f.write(BOOT)


def analyze(directory, *words):
    return subprocess.run(('systemd-analyze', *words), cwd=directory, stdin=subprocess.DEVNULL, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)


def verify(directory):
    """What systemd-analyze has to say about ours; it also names faults in units of the machine."""
    names = sorted(os.listdir(directory))
    result = analyze(directory, 'verify', '--man=no', *[os.path.join(directory, n) for n in names])
    for line in result.stdout.splitlines():
        if any(n in line for n in names):
            yield line
    if result.returncode and 'hero' in result.stdout:
        yield f'systemd-analyze verify: status {result.returncode}'


def exposure(directory):
    for unit, threshold in THRESHOLDS.items():
        result = analyze(directory, 'security', '--offline=true', '--no-pager', f'--threshold={threshold}',
                         os.path.join(directory, unit))
        if result.returncode:
            yield f'{result.stdout}{unit}: more exposed than {threshold / 10}'


def main():
    if not shutil.which('systemd-analyze'):
        print('SKIP: there is no systemd-analyze', file=sys.stderr)
        return SKIPPED
    with tempfile.TemporaryDirectory() as directory:
        copy_runnable(sys.argv[1:], directory)
        found = list(verify(directory)) + list(exposure(directory))
        # A typo must be noticed, or the above says nothing.
        with open(os.path.join(directory, 'hero-computed.service'), 'a', encoding='utf-8') as f:
            f.write('[Service]\nProtectSytem=strict\n')
        if not list(verify(directory)):
            found.append('systemd-analyze verify does not notice a misspelt setting')
    for line in found:
        print(line, file=sys.stderr)
    return 1 if found else 0


if __name__ == '__main__':
    sys.exit(main())
