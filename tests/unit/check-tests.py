#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Every test that meson is to run is named in a meson.build of its folder or of one above: none is forgotten.

    check-tests.py SOURCE_ROOT

Those of pytest beneath tests/system and tests/host are found by tools/test, by their folder."""

import pathlib
import re
import sys


def named(test, top):
    words = [f"{test.name}'"]
    if noun := re.fullmatch(r'test[-_](.*)', test.stem):
        words.append(f"'{noun[1]}'")
    builds = (d / 'meson.build' for d in test.parents if d.is_relative_to(top))
    return any(word in build.read_text(encoding='utf-8') for build in builds if build.exists() for word in words)


def main():
    root = pathlib.Path(sys.argv[1])
    tests, sdk = root / 'tests', root / 'sdk'
    found = {tests: [*tests.rglob('test-*.c'), *(tests / 'bus').rglob('test_*.py')], sdk: [*sdk.rglob('*.test.js')]}
    assert len(found[tests]) > 50 and len(found[sdk]) > 1, 'the tests are not where this check looks'
    forgotten = [str(t.relative_to(root)) for top, files in found.items() for t in sorted(files) if not named(t, top)]
    for t in forgotten:
        print(f'{t}: no meson.build names it, so it never runs')
    return 1 if forgotten else 0


if __name__ == '__main__':
    sys.exit(main())
