# SPDX-License-Identifier: Apache-2.0
"""What a guest sees, against what umoci unpacked: both are lists by tree-list."""

import re


# POSIX ACLs are what SquashFS has no place for, as org.hero.Compute.Images says.
ACL = re.compile(r' system\.posix_acl_(access|default)=[0-9a-f]*')


def entries(text):
    """{path: the rest of its line}"""
    result = {}
    for line in text.splitlines():
        line = ACL.sub('', line)
        path, _, rest = line.partition(' ')
        assert path not in result, f'{path} comes twice'
        result[path] = rest
    return result


def same(expected, seen):
    """Where a file was not read, there is "~" instead of its checksum."""
    if expected is None or seen is None or ' ~ ' not in seen:
        return expected == seen
    e, s = expected.split(' '), seen.split(' ')
    return e[:7] + e[8:] == s[:7] + s[8:]


def differences(expected, seen, without=()):
    """Lines about what is not the same. What something is mounted on in the guest cannot be seen there, nor what is below it; without: paths that
    are not the image's."""
    mounted = [line.partition(' ')[2] for line in seen.splitlines() if line.startswith('mount ')]
    seen = entries('\n'.join(l for l in seen.splitlines() if not l.startswith('mount ')))
    expected = entries(expected)

    def counts(path):
        return path not in without and not any(path == m or path.startswith(m + '/') for m in mounted)
    for path in sorted(expected.keys() | seen.keys()):
        if counts(path) and not same(expected.get(path), seen.get(path)):
            yield f'{path}\n    umoci: {expected.get(path)}\n    guest: {seen.get(path)}'


def assert_same(expected, seen, at_least, **kwargs):
    wrong = list(differences(expected, seen, **kwargs))
    assert not wrong, f'{len(wrong)} entries differ:\n' + '\n'.join(wrong[:20])
    assert len(seen.splitlines()) >= at_least, f'only {len(seen.splitlines())} entries were seen'
