#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Every test that meson is to run is named in a meson.build of its folder or of one above: none is forgotten.

    check-tests.py SOURCE_ROOT

Those of pytest beneath tests/system and tests/host are found by tools/test, by their folder."""

import pathlib
import re
import sys


def named(test, tests):
    noun = re.fullmatch(r'test[-_](.*)', test.stem)[1]
    words = (f"'{noun}'", f"{test.name}'")
    builds = (d / 'meson.build' for d in test.parents if d.is_relative_to(tests))
    return any(word in build.read_text(encoding='utf-8') for build in builds if build.exists() for word in words)


def main():
    tests = pathlib.Path(sys.argv[1]) / 'tests'
    found = [*tests.rglob('test-*.c'), *(tests / 'bus').rglob('test_*.py')]
    assert len(found) > 50, 'the tests are not where this check looks'
    forgotten = [str(t.relative_to(tests.parent)) for t in sorted(found) if not named(t, tests)]
    for t in forgotten:
        print(f'{t}: no meson.build names it, so it never runs')
    return 1 if forgotten else 0


if __name__ == '__main__':
    sys.exit(main())
